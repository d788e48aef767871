"""A process that did not run for a while notices, whichever clock stood still; one that is merely slow does not."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from forwarders.tasks import ASLEEP, TICK, watch_sleep


class Machine:
    """A wall clock beside trio's own, and how often waking was noticed."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.suspended = 0.0
        self.wakes: list[float] = []
        nursery.start_soon(watch_sleep, self._woke, self._wall)

    def _wall(self) -> float:
        return trio.current_time() + self.suspended

    def _woke(self) -> None:
        self.wakes.append(trio.current_time())


@pytest.mark.parametrize("clocks", ["both go on", "only the wall's goes on"])
async def test_a_sleep_is_noticed_within_a_tick(nursery: trio.Nursery, autojump_clock: MockClock, clocks: str) -> None:
    """After SIGSTOP trio's clock has gone on, after a suspend it has not: both are told once."""
    machine = Machine(nursery)
    await trio.sleep(10.5)
    if clocks == "both go on":
        autojump_clock.jump(90)
    else:
        machine.suspended = 90
    woke = trio.current_time()
    await trio.sleep(10)
    assert len(machine.wakes) == 1
    assert machine.wakes[0] - woke <= TICK


async def test_a_slow_moment_is_no_sleep(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A busy machine that lets this process wait for seconds does not make it ask everybody."""
    machine = Machine(nursery)
    for _ in range(20):
        await trio.sleep(10.5)
        autojump_clock.jump(ASLEEP - 0.1)
    assert machine.wakes == []
