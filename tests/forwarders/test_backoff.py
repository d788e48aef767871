"""The pace of those who try again: bounded for all together, gone once one got through."""

from __future__ import annotations

import pytest
import trio
import trio.lowlevel
import trio.testing
from trio.testing import MockClock

from forwarders.backoff import FIRST_REST, TURN, RetryLimiter


async def test_turns_come_one_after_the_other(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Everyone waits its own pause; of those whose pause is over one goes each interval."""
    gate = RetryLimiter(0.1)
    turns: list[float] = []

    async def wait(pause: float) -> None:
        await gate.wait_turn(pause)
        turns.append(trio.current_time())

    began = trio.current_time()
    for pause in (0.5, 0.5, 0.5, 2.0, 0.0):
        nursery.start_soon(wait, pause)
    await trio.sleep(5)
    assert [at - began for at in turns] == pytest.approx([0.0, 0.5, 0.6, 0.7, 2.0])


async def test_one_who_got_through_lets_all_go(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Those in their pause and those in the queue go at once; who fails after that begins with a pause again."""
    gate = RetryLimiter(1.0)
    gone = 0

    async def wait(pause: float) -> None:
        nonlocal gone
        await gate.wait_turn(pause)
        gone += 1

    for pause in (0.0, 0.0, 0.0, 15.0):
        nursery.start_soon(wait, pause)
    await trio.sleep(0.5)
    before = gone
    gate.release()
    await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked()
    assert (before, gone) == (1, 4)
    began = trio.current_time()
    await gate.wait_turn(0.3)
    assert trio.current_time() - began == pytest.approx(0.3)


async def test_a_first_failure_waits_out_of_turn(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Its pause is its own, however many queue; it ends with the gate's opening as well."""
    gate = RetryLimiter(1.0)
    for _ in range(10):
        nursery.start_soon(gate.wait_turn, 0.0)
    await trio.testing.wait_all_tasks_blocked()
    began = trio.current_time()
    opened = await gate.wait(0.05)
    assert not opened
    assert trio.current_time() - began == pytest.approx(0.05)
    nursery.start_soon(_open_after, gate, 0.2)
    opened = await gate.wait(5.0)
    assert opened
    assert trio.current_time() - began == pytest.approx(0.25)


async def test_what_does_not_last_releases_ever_more_seldom(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Sixty callers, each of which gets through and fails again: in ten minutes they are released a few times only."""
    gate = RetryLimiter(TURN)
    tries: list[float] = []

    async def flap() -> None:
        while True:
            await gate.wait_turn(0.5)
            tries.append(trio.current_time())
            gate.release()

    for _ in range(60):
        nursery.start_soon(flap)
    began = trio.current_time()
    await trio.sleep(600)
    assert len(tries) < 10 * 600 + 60 * 15
    late = [at for at in tries if at - began > 300]
    assert len(late) < 10 * 300 + 60 * 6


@pytest.mark.parametrize("calm", [2 * FIRST_REST, 100.0])
async def test_each_outage_ends_for_all_at_once(nursery: trio.Nursery, autojump_clock: MockClock, calm: float) -> None:
    """After a while without a release the next one comes at once: outages may follow one another."""
    gate = RetryLimiter(1.0)
    for _ in range(5):
        gone: list[float] = []
        for pause in (10.0, 20.0, 30.0):
            nursery.start_soon(_turn, gate, pause, gone)
        await trio.sleep(calm)
        gate.release()
        await trio.testing.wait_all_tasks_blocked()
        assert len(gone) == 3


async def _turn(gate: RetryLimiter, pause: float, gone: list[float]) -> None:
    await gate.wait_turn(pause)
    gone.append(pause)


async def _open_after(gate: RetryLimiter, seconds: float) -> None:
    await trio.sleep(seconds)
    gate.release()
