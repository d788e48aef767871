"""A reflector that runs against the API in memory, and what it shows. Owns no assertion."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import trio

from forwarders.backoff import TURN, RetryLimiter
from tests.cluster_client.memory_api import (
    SERVER,
    MemoryApi,
    longest,
    until,
)
from watcher.cluster.api_client import ApiClient
from watcher.cluster.kinds import POD
from watcher.cluster.reflector import Reflector
from watcher.cluster.store import Problem, Store, Watch, WatchCache

WATCH = Watch(POD, "shop")


class Recording(RetryLimiter):
    """A limiter that records when it released its waiters."""

    def __init__(self, interval: float) -> None:
        super().__init__(interval)
        self.opened_at: list[float] = []

    def release(self) -> None:
        self.opened_at.append(trio.current_time())
        super().release()


@dataclass
class Seen:
    """A reflector that runs, and what it showed."""

    api: MemoryApi
    reflector: Reflector
    store: Store
    changes: list[object]
    gate: Recording

    def names(self) -> set[str] | None:
        objects = self.store.snapshot.objects.get(WATCH)
        return None if objects is None else {name for _, name in objects}

    def problem(self) -> Problem | None:
        return self.store.snapshot.problems.get(WATCH)

    async def watching(self, number: int = 1) -> None:
        await until(lambda: len(self.api.feeds) >= number)


@asynccontextmanager
async def reflecting(api: MemoryApi) -> AsyncIterator[Seen]:
    changes: list[object] = []

    def look() -> None:
        changes.append(store.snapshot.problems.get(WATCH))
        set(store.snapshot.objects.get(WATCH, {}))  # who does not look is told no more

    store = Store(look)
    async with ApiClient(SERVER, api) as client, trio.open_nursery() as nursery:
        gate = Recording(TURN)
        reflector = Reflector(
            client,
            WatchCache(store, WATCH),
            longest(),
            gate,
            lambda: datetime(2026, 11, 23, 22, 48, 4, tzinfo=UTC),
        )
        nursery.start_soon(reflector.run)
        yield Seen(api, reflector, store, changes, gate)
        nursery.cancel_scope.cancel()
