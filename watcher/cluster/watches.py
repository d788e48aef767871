"""Owns the set of watches that run: the ones wanted, each a reflector in a task of its own.

Refuses to choose them. `snapshot` is a live view: read it without waiting in between.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import trio

from watcher.cluster.client import Client
from watcher.cluster.reflector import Reflector
from watcher.cluster.store import Snapshot, Watch


class Watches:
    """`on_change` is called synchronously after every change of the snapshot."""

    def __init__(self, client: Client, on_change: Callable[[], None], random: Random) -> None:
        self._client = client
        self._on_change = on_change
        self._random = random
        self._reflectors: dict[Watch, tuple[Reflector, trio.CancelScope]] = {}
        self._nursery: trio.Nursery | None = None

    @property
    def snapshot(self) -> Snapshot:
        reflectors = [reflector for reflector, _ in self._reflectors.values()]
        return Snapshot(
            objects={r.watch: r.objects for r in reflectors if r.objects is not None},
            problems={r.watch: r.problem for r in reflectors if r.problem is not None},
        )

    def want(self, watches: frozenset[Watch]) -> None:
        """Start what is missing, end what is not wanted and forget its objects."""
        for watch in self._reflectors.keys() - watches:
            self._reflectors.pop(watch)[1].cancel()
        for watch in sorted(watches - self._reflectors.keys(), key=str):
            reflector = Reflector(self._client, watch, self._on_change, self._random)
            scope = trio.CancelScope()
            self._reflectors[watch] = (reflector, scope)
            if self._nursery is not None:
                self._nursery.start_soon(_reflect, reflector, scope)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for reflector, scope in self._reflectors.values():
                nursery.start_soon(_reflect, reflector, scope)
            task_status.started()
            await trio.sleep_forever()


async def _reflect(reflector: Reflector, scope: trio.CancelScope) -> None:
    with scope:
        await reflector.run()
