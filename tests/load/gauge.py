"""Reads the memory and the file descriptors of a running portside once a second."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import trio

from tests.support.process import Portside

LOOK = 1.0
MIB = 1024 * 1024


class Gauge:
    """`memory` has (trio's time, resident bytes), oldest first; `most_descriptors` is the peak."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.memory: list[tuple[float, int]] = []
        self.most_descriptors = 0
        self.look()

    def look(self) -> None:
        self.memory.append((trio.current_time(), self._process.memory_info().rss))
        self.most_descriptors = max(self.most_descriptors, self._process.num_fds())

    def peak(self, begin: float = 0.0, end: float = float("inf")) -> float:
        """The most memory in this time, in MiB."""
        return max(size for at, size in self.memory if begin <= at <= end) / MIB

    def __str__(self) -> str:
        times = self._process.cpu_times()
        cpu = times.user + times.system
        return f"{self.peak():.0f} MiB at most, {self.most_descriptors} descriptors at most, {cpu:.0f} s of processor"


@asynccontextmanager
async def gauging(running: Portside) -> AsyncIterator[Gauge]:
    """Reads during the block and once at its end; pytest -s shows the figures."""
    gauge = Gauge(running.process.pid)

    async def look() -> None:
        while True:
            await trio.sleep(LOOK)
            gauge.look()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        yield gauge
        nursery.cancel_scope.cancel()
    gauge.look()
    print(f"\nload: {gauge}")  # noqa: T201 - the figures are what a long run is for
