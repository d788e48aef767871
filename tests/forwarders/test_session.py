"""Sessions against a peer in memory: bytes, ends, what a loss means, and how a retired session ends."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from forwarders.errors import DialError, TunnelError
from forwarders.session import HAUNTED_TIMEOUT, RETIRE_TIMEOUT, Session
from forwarders.session_io import DEFER
from forwarders.tunnel import RECEIVE_LIMIT
from forwarders.wire import frames
from forwarders.wire.runtimes import PAIR_ENDS_WITHIN
from tests.forwarders.peer import Peer, PeerStream
from tests.forwarders.sides import Sides, everything
from tests.forwarders.streams import close, receive_pieces


def haunt(peer: Peer, stream: PeerStream) -> None:
    """As socat does: DATA for a stream that we have reset."""
    peer.to_client += frames.data_head(stream.data, 4, fin=False) + b"more"
    peer.changed.fire()


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
