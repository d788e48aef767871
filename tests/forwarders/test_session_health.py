"""Sessions that give no answer: how fast that is known, and what is not taken for it."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from forwarders.errors import TunnelError
from forwarders.health import BUSY_INTERVAL, DOUBT
from forwarders.session_io import WRITE_TIMEOUT
from forwarders.tunnel import RECEIVE_LIMIT
from forwarders.wire.workers import FRAME_WORKERS, worker_of
from tests.forwarders.sides import Sides
from tests.forwarders.streams import receive_pieces


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


async def sleep_while_asked(sides: Sides, clock: MockClock) -> None:
    """The peer does not answer a PING, and then the process does not run for 90 s."""
    await sides.connect()
    await trio.testing.wait_all_tasks_blocked()
    sides.peer.answering = False
    await trio.sleep(2.5)
    clock.jump(90)


async def test_a_process_that_was_stopped_does_not_blame_the_peer(sides: Sides, autojump_clock: MockClock) -> None:
    """After a SIGSTOP or a suspend the answer's time is over without a chance to hear it: the peer is asked again."""
    await sleep_while_asked(sides, autojump_clock)
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
    await sleep_while_asked(sides, autojump_clock)
    await trio.testing.wait_all_tasks_blocked()
    sides.session.check()
    began = trio.current_time()
    await sides.ended.wait()
    assert 2.0 <= trio.current_time() - began <= 3.01
