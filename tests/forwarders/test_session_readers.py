"""Applications and clients that do not read: what they cost, and whom."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from forwarders import session_io
from forwarders.errors import TunnelError
from forwarders.session_io import FRAMES_A_TURN, STALLED_AFTER, UNREAD_OF_ONE
from forwarders.transports.sockets import Piece
from forwarders.tunnel import FRAME_SIZE, RECEIVE_LIMIT
from forwarders.wire.connection import Connection
from forwarders.wire.workers import CREDIT
from tests.forwarders.sides import Sides, everything
from tests.forwarders.streams import receive_pieces

FLOODS: dict[str, Callable[[Connection, int], object]] = {
    "PINGs": lambda wire, _: wire.ping(),
    "streams that it resets": lambda wire, _: wire.reset(wire.open_stream(())),
    "empty DATA": lambda wire, stream: wire.send_data(stream, b""),
    "DATA of a byte": lambda wire, stream: wire.send_data(stream, b"x"),
}


async def _count_turns(counted: list[int]) -> None:
    while True:
        counted[0] += 1
        await trio.lowlevel.checkpoint()


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
