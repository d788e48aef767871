"""Runs the required watches, each a reflector in a task of its own, so that one failure does not reach the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from random import Random

import trio

from forwarders.backoff import TURN, RetryLimiter
from forwarders.tasks import Tasks, kept
from watcher.cluster.api_client import ApiClient
from watcher.cluster.reflector import Reflector
from watcher.cluster.store import Problem, Snapshot, Store, Watch, WatchCache

logger = logging.getLogger("portside.cluster")


def _local_now() -> datetime:
    return datetime.now().astimezone()


class Watches:
    """Calls `on_change` synchronously after each change of `snapshot`, which is live: do not await while reading it.

    `gate`: the rate limiter of the API server, if others share it.
    """

    def __init__(
        self,
        client: ApiClient,
        on_change: Callable[[], None],
        random: Random,
        now: Callable[[], datetime] = _local_now,
        gate: RetryLimiter | None = None,
    ) -> None:
        self._client = client
        self._random = random
        self._now = now
        self._gate = gate or RetryLimiter(TURN)
        self._store = Store(on_change)
        self._running: dict[Watch, tuple[Reflector, trio.CancelScope]] = {}
        self._tasks: Tasks | None = None

    @property
    def snapshot(self) -> Snapshot:
        return self._store.snapshot

    def want(self, watches: frozenset[Watch]) -> None:
        """Start missing watches; cancel those no longer wanted and drop their objects, without `on_change`."""
        for watch in self._running.keys() - watches:
            reflector, scope = self._running.pop(watch)
            reflector.cache.close()
            scope.cancel()
        for watch in sorted(watches - self._running.keys(), key=repr):
            reflector = Reflector(self._client, WatchCache(self._store, watch), self._random, self._gate, self._now)
            scope = trio.CancelScope()
            self._running[watch] = reflector, scope
            if self._tasks is not None:
                self._tasks.start(_keep, reflector, scope)

    def check(self) -> None:
        """Resume every watch on a new connection: the process slept, or sessions failed.

        HTTP/1.1 has no ping for the old connection. No list is needed, so this costs one request for each watch.
        """
        for reflector, _ in self._running.values():
            reflector.check()
        self._gate.release()

    def restart(self) -> None:
        """Another API server answers now: every watch starts with a list. The objects stay until it has ended."""
        for reflector, _ in self._running.values():
            reflector.restart()
        self._gate.release()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs the wanted watches until cancelled."""
        async with trio.open_nursery() as nursery:
            with Tasks(nursery) as self._tasks:
                for reflector, scope in self._running.values():
                    self._tasks.start(_keep, reflector, scope)
                task_status.started()
                await trio.sleep_forever()


async def _keep(reflector: Reflector, scope: trio.CancelScope) -> None:
    def failed(cause: str) -> None:
        reflector.cache.set_error(Problem(f"a bug of portside's: {cause}"))

    with scope:
        await kept(logger, f"watching {reflector.cache.watch.kind.plural}", reflector.run, failed)
