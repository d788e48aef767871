"""Sessions against a peer in memory: what a loss means, how fast it is known, and what one slow reader costs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from forwarders import session_io
from forwarders.errors import DialError, SessionLostError, TunnelError
from forwarders.health import BUSY_INTERVAL, DOUBT
from forwarders.session import HAUNTED_TIMEOUT, RETIRE_TIMEOUT, Session
from forwarders.session_io import DEFER, FRAMES_A_TURN, STALLED_AFTER, UNREAD_OF_ONE, WRITE_TIMEOUT, SessionEvent
from forwarders.transports.sockets import Piece
from forwarders.tunnel import FRAME_SIZE, RECEIVE_LIMIT, Tunnel
from forwarders.wire import frames
from forwarders.wire.connection import Connection
from forwarders.wire.runtimes import PAIR_ENDS_WITHIN
from forwarders.wire.workers import CREDIT, FRAME_WORKERS, worker_of
from tests.forwarders.peer import Peer, PeerStream
from tests.forwarders.streams import close, receive_pieces


class Sides:
    """A running session with its peer; `lost` is set with the reason when it ends badly, `ended` in any case."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.peer = Peer()
        self.changes = 0
        self.session = Session(self.peer.channel(), b"", self._changed)
        self.ended = trio.Event()
        self.lost = ""
        nursery.start_soon(self._run)

    def _changed(self, session: Session, event: SessionEvent) -> None:
        self.changes += 1

    async def _run(self) -> None:
        try:
            await self.session.run()
        except SessionLostError as error:
            self.lost = str(error)
        self.ended.set()

    async def connect(self, port: int = 80) -> tuple[Tunnel, PeerStream]:
        tunnel = self.session.open(port)
        return tunnel, await self.peer.accept()


@pytest.fixture
def sides(nursery: trio.Nursery) -> Sides:
    return Sides(nursery)


async def everything(tunnel: Tunnel) -> bytes:
    """Until the good end."""
    data = b""
    while pieces := await receive_pieces(tunnel):
        data += b"".join(pieces)
    return data


async def test_bytes_there_and_back(sides: Sides, autojump_clock: MockClock) -> None:
    """What a tunnel sends arrives at the asked port, what the application sends comes back, the end is a good one."""
    tunnel, stream = await sides.connect(8080)
    await tunnel.write(b"question")
    assert (stream.port, await stream.receive_some()) == (8080, b"question")
    await stream.send_all(b"answer")
    await stream.aclose()
    assert await everything(tunnel) == b"answer"
    assert tunnel.finished
    assert sides.session.load == 0
    sides.session.close()
    await sides.ended.wait()
    assert sides.lost == ""


@pytest.mark.parametrize("how", ["eof", "broken", "garbage", "closed by us"])
async def test_a_lost_session_is_never_a_clean_end(sides: Sides, autojump_clock: MockClock, how: str) -> None:
    """Whatever ends a session, every tunnel on it gets its bytes and then an error: short data is never a good end."""
    tunnel, stream = await sides.connect()
    other, _ = await sides.connect()
    await stream.send_all(b"half of")
    await trio.testing.wait_all_tasks_blocked()
    match how:
        case "eof":
            sides.peer.close()
        case "broken":
            sides.peer.fail(ConnectionResetError(104, "reset by peer"))
        case "garbage":
            sides.peer.to_client += b"HTTP/1.1 500 Internal Server Error\r\n\r\n"
            sides.peer.changed.fire()
        case _:
            sides.session.close()
    assert await receive_pieces(tunnel) == [b"half of"]
    for broken in (tunnel, other):
        with pytest.raises(TunnelError):
            await receive_pieces(broken)
    await sides.ended.wait()
    assert bool(sides.lost) is (how != "closed by us")
    assert not sides.session.usable
    await other.write(b"for nobody")
    assert await other.confirm() is False


async def test_a_session_that_is_lost_while_it_is_cancelled(autojump_clock: MockClock) -> None:
    """Loss and cancellation at once leave nothing behind but the cancellation: no error escapes in a group."""
    for ticks in range(4):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                sides = Sides(nursery)
                await sides.connect()
                sides.peer.fail(OSError(5, "gone"))
                for _ in range(ticks):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        assert sides.session.load == 0


async def test_an_end_waits_for_the_error_stream(sides: Sides, autojump_clock: MockClock) -> None:
    """Data FIN, then error text: the FIN alone is not told as a good end, the text makes it a bad one."""
    tunnel, stream = await sides.connect()
    await stream.send_all(b"half")
    stream.end_data()
    await trio.testing.wait_all_tasks_blocked()
    assert await receive_pieces(tunnel) == [b"half"]
    with trio.move_on_after(0.5) as scope:
        await receive_pieces(tunnel)
    assert scope.cancelled_caught
    stream.refuse("connection reset by peer")
    with pytest.raises(TunnelError, match="reset by peer"):
        await receive_pieces(tunnel)


async def test_an_error_stream_that_never_ends(sides: Sides, autojump_clock: MockClock) -> None:
    """After 2 s and an answer to a PING the end counts as good: what the peer had to say has been read by then."""
    tunnel, stream = await sides.connect()
    began = trio.current_time()
    stream.end_data()
    assert await everything(tunnel) == b""
    assert 2.0 <= trio.current_time() - began < 2.5
    assert sides.session.load == 0


async def test_an_error_text_held_up_behind_a_slow_reader(sides: Sides, autojump_clock: MockClock) -> None:
    """While the session is paused for another tunnel no end is declared good: the text is still to be read."""
    slow, filling = await sides.connect()
    tunnel, stream = await sides.connect()
    filling.send_at_once(bytes(UNREAD_OF_ONE))
    stream.end_data()
    await trio.testing.wait_all_tasks_blocked()
    stream.refuse("connection reset by peer")
    await trio.sleep(10)
    assert not tunnel.finished
    await receive_pieces(slow)
    with pytest.raises(TunnelError, match="reset by peer"):
        await everything(tunnel)


async def test_a_refusal_is_told_as_such_unless_bytes_came(sides: Sides, autojump_clock: MockClock) -> None:
    """The runtime's dial error permits another dial; behind bytes of an answer the same text does not."""
    tunnel, stream = await sides.connect()
    stream.refuse()
    with pytest.raises(DialError):
        await receive_pieces(tunnel)
    tunnel, stream = await sides.connect()
    await stream.send_all(b"x")
    stream.refuse()
    await receive_pieces(tunnel)
    with pytest.raises(TunnelError) as caught:
        await receive_pieces(tunnel)
    assert not isinstance(caught.value, DialError)
    assert sides.session.usable


async def test_a_slow_reader_pauses_its_session_alone(
    sides: Sides, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """What is unread is bounded, another session goes on, and the paused one goes on where it stood."""
    slow, stream = await sides.connect()
    neighbour = Sides(nursery)
    quick, other = await neighbour.connect()
    total = 8 * RECEIVE_LIMIT
    nursery.start_soon(stream.send_all, bytes(total))
    await trio.sleep(30)
    paused = not sides.session.usable
    assert slow.received < total / 2
    await other.send_all(b"still here")
    assert await receive_pieces(quick) == [b"still here"]
    received = 0
    while received < total:
        received += sum(len(piece) for piece in await receive_pieces(slow))
    assert received == total
    await trio.testing.wait_all_tasks_blocked()
    assert (paused, sides.session.usable) == (True, True)
    assert sides.lost == ""


async def test_a_client_that_does_not_read_is_said_once(
    sides: Sides, autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    """Who looks for what holds up other connections finds it in the log; a client that is slow is nothing to say."""
    caplog.set_level("DEBUG")
    slow, stream = await sides.connect()
    nursery.start_soon(stream.send_all, bytes(4 * RECEIVE_LIMIT))
    while slow.received < 2 * RECEIVE_LIMIT:
        await trio.sleep(STALLED_AFTER / 2)
        await receive_pieces(slow)
    assert "does not read" not in caplog.text
    await trio.sleep(30)
    assert caplog.text.count("a local client does not read: its session waits, 1 connections") == 1


@pytest.mark.parametrize("budget", ["its own", "of all"])
async def test_a_slow_reader_beside_others(
    sides: Sides, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, budget: str
) -> None:
    """Its session reads on for the others, takes no new connection meanwhile, and pauses once the budget is used up."""
    if budget == "of all":
        monkeypatch.setattr(session_io, "UNREAD_OF_ALL", UNREAD_OF_ONE // 2)
    slow, filling = await sides.connect()
    quick, stream = await sides.connect()
    filling.send_at_once(bytes(UNREAD_OF_ONE // 4))
    await stream.send_all(b"still here")
    assert await receive_pieces(quick) == [b"still here"]
    before = sides.session.usable
    slow.take_pieces()
    assert (before, sides.session.usable) == (False, True)
    filling.send_at_once(bytes(UNREAD_OF_ONE if budget == "its own" else UNREAD_OF_ONE // 2))
    await trio.testing.wait_all_tasks_blocked()
    await stream.send_all(b"later")
    with trio.move_on_after(60) as waited:
        await receive_pieces(quick)
    assert waited.cancelled_caught
    slow.take_pieces()
    assert await receive_pieces(quick) == [b"later"]


async def test_a_finished_or_closed_tunnel_pauses_nothing(sides: Sides, autojump_clock: MockClock) -> None:
    """Nobody waits for a reader that has gone, nor for one to whom nothing more will come."""
    finished, stream = await sides.connect()
    gone, other = await sides.connect()
    await stream.send_all(b"x" * RECEIVE_LIMIT)
    await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    await other.send_all(b"x" * RECEIVE_LIMIT)
    await trio.testing.wait_all_tasks_blocked()
    paused = not sides.session.usable
    gone.abort()
    await trio.testing.wait_all_tasks_blocked()
    assert (paused, sides.session.usable) == (True, True)
    assert len(await everything(finished)) == RECEIVE_LIMIT


async def test_small_pieces_do_not_hold_large_buffers(sides: Sides, autojump_clock: MockClock) -> None:
    """A few bytes that wait for a slow reader do not keep the 256 KiB alive that they were read with."""
    slow, small = await sides.connect()
    quick, large = await sides.connect()
    sides.peer.wire.send_data(small.data, b"a few")
    sides.peer.wire.send_data(large.data, bytes(100_000))
    sides.peer.flush()
    pieces: list[Piece] = await receive_pieces(slow)
    assert [type(piece) for piece in pieces] == [bytes]
    assert sum(len(piece) for piece in await receive_pieces(quick)) == 100_000


@pytest.mark.parametrize("busy", [True, False])
async def test_a_silent_peer_is_known_within_its_time(sides: Sides, autojump_clock: MockClock, *, busy: bool) -> None:
    """With connections a dead session is known within 5 s, a spare within 23 s."""
    tunnel = (await sides.connect())[0] if busy else None
    await trio.testing.wait_all_tasks_blocked()
    sides.peer.answering = False
    began = trio.current_time()
    await sides.ended.wait()
    assert trio.current_time() - began <= (5.0 if busy else 23.0) + 0.01
    assert "no sign of life" in sides.lost
    if tunnel is not None:
        with pytest.raises(TunnelError, match="no sign of life"):
            await receive_pieces(tunnel)


async def test_a_spare_that_died_is_known_soon_after_its_first_connection(
    sides: Sides, autojump_clock: MockClock
) -> None:
    """The first connection on a quiet session asks at once."""
    await trio.sleep(15)
    sides.peer.answering = False
    began = trio.current_time()
    sides.session.open(80)
    await sides.ended.wait()
    assert trio.current_time() - began <= 5.01


async def test_a_living_quiet_session_stays(sides: Sides, autojump_clock: MockClock) -> None:
    """An idle connection over an hour is asked and answers; so does a spare."""
    tunnel, stream = await sides.connect()
    await trio.sleep(3600)
    await stream.send_all(b"still here")
    assert await receive_pieces(tunnel) == [b"still here"]
    assert sides.peer.pings > 3600 / 5


async def test_a_paused_session_is_not_taken_for_dead(sides: Sides, autojump_clock: MockClock) -> None:
    """While a slow reader keeps a session from reading, silence proves nothing."""
    slow, stream = await sides.connect()
    await stream.send_all(bytes(RECEIVE_LIMIT))
    await trio.testing.wait_all_tasks_blocked()
    sides.peer.answering = False
    await trio.sleep(600)
    assert not sides.ended.is_set()
    sides.peer.answering = True
    sides.peer.work()
    await receive_pieces(slow)
    await trio.sleep(60)
    assert sides.lost == ""


async def test_a_process_that_was_stopped_does_not_blame_the_peer(sides: Sides, autojump_clock: MockClock) -> None:
    """After a SIGSTOP or a suspend the answer's time is over without a chance to hear it: the peer is asked again."""
    await sides.connect()
    await trio.testing.wait_all_tasks_blocked()
    sides.peer.answering = False
    await trio.sleep(2.5)
    autojump_clock.jump(90)
    sides.peer.answering = True
    sides.peer.work()
    await trio.sleep(60)
    assert sides.lost == ""


async def test_a_write_that_never_ends(sides: Sides, autojump_clock: MockClock) -> None:
    """A path that takes no bytes ends the session: every write has a deadline."""
    tunnel, _ = await sides.connect()
    await trio.testing.wait_all_tasks_blocked()
    sides.peer.reading = False
    began = trio.current_time()
    await tunnel.write(b"x")
    await sides.ended.wait()
    assert trio.current_time() - began <= WRITE_TIMEOUT + 0.01
    assert "could be sent" in sides.lost


async def test_an_upload_waits_for_the_application(
    sides: Sides, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """An application that does not read stops its sender after the credit, and only that sender."""
    stuck, stream = await sides.connect()
    other, reading = await sides.connect()
    size = 3 * CREDIT
    nursery.start_soon(stuck.write, bytes(size * FRAME_SIZE))
    await trio.sleep(20)
    before = sides.peer.sent_by_client
    assert before < (CREDIT + 1) * FRAME_SIZE
    assert sides.lost == ""
    await other.write(b"unhindered")
    assert await reading.receive_some() == b"unhindered"
    received = 0
    while received < size * FRAME_SIZE:
        received += len(await stream.receive_some())
    assert received == size * FRAME_SIZE


async def test_confirm_means_taken(sides: Sides, autojump_clock: MockClock) -> None:
    """`confirm` waits until the application's end has what was sent; a byte of an answer confirms too."""
    tunnel, stream = await sides.connect()
    await tunnel.write(b"first")
    await tunnel.write(b"second")
    with trio.move_on_after(1) as scope:
        await tunnel.confirm()
    assert scope.cancelled_caught
    assert await stream.receive_some() == b"first"
    assert await tunnel.confirm() is True
    await tunnel.write(b"third")
    await stream.send_all(b"answer")
    await receive_pieces(tunnel)
    assert await tunnel.confirm() is True


async def test_confirm_ends_with_the_connection(sides: Sides, autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    """A refusal, an abort or a lost session ends the wait with False."""
    tunnel, stream = await sides.connect()
    await tunnel.write(b"first")
    await tunnel.write(b"second")
    answers: list[bool] = []

    async def ask() -> None:
        answers.append(await tunnel.confirm())

    nursery.start_soon(ask)
    await trio.testing.wait_all_tasks_blocked()
    stream.refuse()
    await trio.testing.wait_all_tasks_blocked()
    assert answers == [False]
    assert await tunnel.confirm() is False


async def test_go_away_takes_no_new_connections_and_keeps_the_old(sides: Sides, autojump_clock: MockClock) -> None:
    """GOAWAY ends no connection."""
    tunnel, stream = await sides.connect()
    sides.peer.wire.go_away()
    sides.peer.flush()
    await trio.testing.wait_all_tasks_blocked()
    assert sides.session.ending
    assert not sides.session.usable
    await stream.send_all(b"still")
    assert await receive_pieces(tunnel) == [b"still"]
    assert sides.changes > 0


async def test_bytes_that_came_with_the_upgrade(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """What stood behind the HTTP answer belongs to the session."""
    peer = Peer()
    peer.wire.go_away()
    session = Session(peer.channel(), peer.wire.take(), lambda session, event: None)
    nursery.start_soon(session.run)
    await trio.testing.wait_all_tasks_blocked()
    assert session.ending
    session.close()


async def test_a_session_closed_before_it_runs(autojump_clock: MockClock) -> None:
    """`close` before `run` has begun still closes the channel and ends at once."""
    peer = Peer()
    session = Session(peer.channel(), b"", lambda session, event: None)
    tunnel = session.open(80)
    session.close()
    await session.run()
    assert peer.closed
    with pytest.raises(TunnelError):
        await receive_pieces(tunnel)


async def test_a_wedged_session_keeps_its_connections_and_takes_no_new_one(
    sides: Sides, autojump_clock: MockClock
) -> None:
    """Bytes still come, but no PING is answered: known within 5 s; when the answers come the session serves again."""
    tunnel, stream = await sides.connect()
    await trio.sleep(10)
    sides.peer.answering = False

    async def download() -> None:
        while True:
            await stream.send_all(b"x")
            await trio.sleep(0.3)

    async def read(seconds: float) -> bool:
        with trio.move_on_after(seconds):
            while True:
                await receive_pieces(tunnel)
        return sides.session.usable

    async with trio.open_nursery() as nursery:
        nursery.start_soon(download)
        assert [await read(5), await read(600)] == [False, False]
        assert (sides.ended.is_set(), sides.session.load) == (False, 1)
        sides.peer.answering = True
        sides.peer.work()
        assert await read(10)
        nursery.cancel_scope.cancel()
    assert sides.lost == ""


@pytest.mark.parametrize("free", [True, False])
async def test_one_worker_that_gives_no_answer(sides: Sides, autojump_clock: MockClock, *, free: bool) -> None:
    """One that holds an application's bytes owes none; one that holds nothing is a wedge, others answering or not."""
    tunnel, _ = await sides.connect()
    await trio.sleep(5)
    held = tunnel._pair
    data_worker = worker_of(sides.session._wire._pairs[held].data_id)
    sides.peer.stuck.add((data_worker + 2) % FRAME_WORKERS if free else data_worker)
    await tunnel.write(b"held")
    await trio.sleep(5)
    assert sides.session.usable is not free
    await trio.sleep(60)
    assert (sides.session.load, sides.lost) == (1, "")


async def test_five_applications_that_do_not_read_are_no_dead_session(sides: Sides, autojump_clock: MockClock) -> None:
    """Where every worker holds what an application does not read, silence proves nothing."""
    pairs = [await sides.connect() for _ in range(FRAME_WORKERS)]
    for tunnel, _ in pairs:
        await tunnel.write(b"first")
        await tunnel.write(b"second")
    await trio.sleep(3600)
    assert sides.lost == ""
    for _, stream in pairs:
        assert await stream.receive_some() == b"first"
        assert await stream.receive_some() == b"second"
    await trio.sleep(60)
    assert sides.lost == ""
    sides.peer.answering = False
    with trio.fail_after(5.01):
        await sides.ended.wait()


async def test_a_wedged_spare_is_given_up(sides: Sides, autojump_clock: MockClock) -> None:
    """Nothing is lost with a session that carries nothing: it does not stay in the way of another."""
    await trio.sleep(1)
    sides.peer.stuck.add(3)
    with trio.fail_after(24):
        await sides.ended.wait()
    assert "no sign of life" in sides.lost


async def test_a_slow_answer_turns_new_connections_away_for_as_long_as_it_takes(
    sides: Sides, autojump_clock: MockClock
) -> None:
    """A second without an answer: no new connection, no end; the answer makes the session good again."""
    await sides.connect()
    await trio.sleep(5)
    sides.peer.answering = False
    await trio.sleep(BUSY_INTERVAL + DOUBT + 0.1)
    turned_away = not sides.session.usable
    sides.peer.answering = True
    sides.peer.work()
    await trio.testing.wait_all_tasks_blocked()
    assert (turned_away, sides.session.usable) == (True, True)
    assert sides.lost == ""


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize("busy", [True, False])
async def test_after_a_sleep_a_session_proves_itself_at_once(
    sides: Sides, autojump_clock: MockClock, *, alive: bool, busy: bool
) -> None:
    """A check asks now: no new connection before the answer, the end after 2 s without one."""
    if busy:
        await sides.connect()
    await trio.sleep(10.9)
    sides.peer.answering = False
    sides.session.check()
    turned_away = not sides.session.usable
    if alive:
        await trio.sleep(1.5)
        sides.peer.answering = True
        sides.peer.work()
        await trio.testing.wait_all_tasks_blocked()
        assert (turned_away, sides.session.usable) == (True, True)
    else:
        with trio.fail_after(2.01):
            await sides.ended.wait()


async def test_a_sleep_in_the_middle_of_a_question(sides: Sides, autojump_clock: MockClock) -> None:
    """Asked before the sleep, late after it: asked once more, and given up only without an answer to that."""
    await sides.connect()
    await trio.testing.wait_all_tasks_blocked()
    sides.peer.answering = False
    await trio.sleep(2.5)
    autojump_clock.jump(90)
    await trio.testing.wait_all_tasks_blocked()
    sides.session.check()
    began = trio.current_time()
    await sides.ended.wait()
    assert 2.0 <= trio.current_time() - began <= 3.01


async def test_a_retired_session_ends_when_all_is_taken(sides: Sides, autojump_clock: MockClock) -> None:
    """The last bytes of an upload and its end arrive before the session closes; no new connection comes meanwhile."""
    tunnel, stream = await sides.connect()
    await tunnel.write(b"first")
    await tunnel.write(b"last")
    close(tunnel)
    sides.session.retire()
    assert not sides.session.usable
    await trio.sleep(1)
    assert not sides.ended.is_set()
    assert await stream.receive_some() == b"first"
    await trio.testing.wait_all_tasks_blocked()
    assert not sides.ended.is_set()
    assert await stream.receive_some() == b"last"
    with trio.fail_after(0.1):
        await sides.ended.wait()
    assert sides.lost == ""


async def test_a_retired_session_does_not_wait_for_ever(sides: Sides, autojump_clock: MockClock) -> None:
    """What the runtime never takes does not keep a session."""
    tunnel, _ = await sides.connect()
    await tunnel.write(b"first")
    await tunnel.write(b"last")
    close(tunnel)
    sides.session.retire()
    with trio.fail_after(RETIRE_TIMEOUT + 0.01):
        await sides.ended.wait()


async def test_what_nobody_waits_for_goes_with_the_next_bytes(sides: Sides, autojump_clock: MockClock) -> None:
    """The reset of a connection that is over: in one write with the next connection, or after DEFER without one."""
    tunnel, _ = await sides.connect()
    await trio.testing.wait_all_tasks_blocked()
    before = sides.peer.sent_by_client
    tunnel.abort()
    await trio.testing.wait_all_tasks_blocked()
    assert sides.peer.sent_by_client == before
    await trio.sleep(DEFER)
    await trio.testing.wait_all_tasks_blocked()
    assert sides.peer.sent_by_client > before


async def test_an_application_that_sends_on_after_our_reset(sides: Sides, autojump_clock: MockClock) -> None:
    """What still comes 1.5 s later is a download that only the session's end stops: it takes no connection and ends."""
    tunnel, stream = await sides.connect()
    await stream.send_all(b"x")
    tunnel.abort()
    await trio.testing.wait_all_tasks_blocked()
    changes = sides.changes
    for usable in (True, False):
        haunt(sides.peer, stream)
        await trio.testing.wait_all_tasks_blocked()
        assert sides.session.usable is usable
        await trio.sleep(PAIR_ENDS_WITHIN + 0.01)
    assert sides.changes > changes
    sides.session.retire()
    with trio.fail_after(HAUNTED_TIMEOUT + 0.01):
        await sides.ended.wait()


async def test_stray_data_that_was_under_way(sides: Sides, autojump_clock: MockClock) -> None:
    """Data soon after a reset, or after a pause of our own reading, proves nothing, however many streams were reset."""
    streams = []
    for _ in range(3):
        tunnel, stream = await sides.connect()
        tunnel.abort()
        await trio.sleep(1)
        streams.append(stream)
    reader, filling = await sides.connect()
    await filling.send_all(bytes(RECEIVE_LIMIT))
    await trio.testing.wait_all_tasks_blocked()
    for stream in streams:
        haunt(sides.peer, stream)
    await trio.sleep(60)
    reader.take_pieces()
    await trio.testing.wait_all_tasks_blocked()
    assert sides.session.usable


def haunt(peer: Peer, stream: PeerStream) -> None:
    """As socat does: DATA for a stream that we have reset."""
    peer.to_client += frames.data_head(stream.data, 4, fin=False) + b"more"
    peer.changed.fire()


async def _count_turns(counted: list[int]) -> None:
    while True:
        counted[0] += 1
        await trio.lowlevel.checkpoint()


FLOODS: dict[str, Callable[[Connection, int], object]] = {
    "PINGs": lambda wire, _: wire.ping(),
    "streams that it resets": lambda wire, _: wire.reset(wire.open_stream(())),
    "empty DATA": lambda wire, stream: wire.send_data(stream, b""),
    "DATA of a byte": lambda wire, stream: wire.send_data(stream, b"x"),
}


@pytest.mark.parametrize("what", FLOODS)
async def test_a_flood_keeps_nobody_waiting(sides: Sides, nursery: trio.Nursery, what: str) -> None:
    """20,000 small frames in one read: other tasks have a turn every FRAMES_A_TURN, and the session goes on."""
    _, stream = await sides.connect()
    other, calm = await sides.connect()
    await trio.testing.wait_all_tasks_blocked()
    turns = [0]
    nursery.start_soon(_count_turns, turns)
    for _ in range(20_000):
        FLOODS[what](sides.peer.wire, stream.data)
    before = turns[0]
    sides.peer.flush()
    await calm.send_all(b"behind it")
    with trio.fail_after(60):
        assert await receive_pieces(other) == [b"behind it"]
    assert turns[0] - before >= 20_000 // FRAMES_A_TURN
    assert sides.lost == ""
    nursery.cancel_scope.cancel()


async def test_a_peer_that_asks_and_does_not_read(sides: Sides, autojump_clock: MockClock) -> None:
    """The session ends before its answers fill the memory."""
    await sides.connect()
    await trio.testing.wait_all_tasks_blocked()
    sides.peer.reading = False
    for _ in range(50_000):
        sides.peer.wire.ping()
    sides.peer.flush()
    await sides.ended.wait()
    assert "does not read" in sides.lost
