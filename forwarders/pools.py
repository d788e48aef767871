"""Keeps the pools of all wanted pods, and what those of one cluster share: the way to its API server and doubts of it.

It knows no forwards: each one that wants a pod subscribes a callback.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import trio
from msgspec import Struct

from forwarders.backoff import RetryLimiter
from forwarders.direct import Container
from forwarders.overdraft import Overdraft
from forwarders.pool import Open, Pool
from forwarders.spec import PodRef
from forwarders.tasks import Tasks


class Upstream(Struct, frozen=True):
    """The way to one API server. `gate`: the pace of all who try to reach it. `on_silence`: called if it seems dead."""

    open_channel: Open
    gate: RetryLimiter
    on_silence: Callable[[], None]


def no_others(cluster: str) -> Upstream:
    raise LookupError(f"no way to the cluster {cluster}")


class Pools:
    """The pools of all pods that someone wants. Holders are told of changes by calling their listener.

    The first arguments make the Upstream of the default cluster; `others` gives those of the others.
    """

    def __init__(
        self,
        open_channel: Open,
        random: Random,
        gate: RetryLimiter,
        on_silence: Callable[[], None],
        others: Callable[[str], Upstream] = no_others,
    ) -> None:
        self._default = Upstream(open_channel, gate, on_silence)
        self._others = others
        self._random = random
        self._overdraft = Overdraft()
        self._pools: dict[PodRef, Pool] = {}
        self._tasks: Tasks | None = None

    @property
    def sessions(self) -> int:
        """How many stand, to all pods."""
        return sum(pool.sessions for pool in self._pools.values())

    def get(self, pod: PodRef) -> Pool | Container | None:
        return Container(pod.address) if pod.address else self._pools.get(pod)

    def want(self, pod: PodRef, listener: Callable[[], None]) -> Pool | Container:
        """The pod's pool; its first session is opened as soon as `run` runs. A container has nothing to open."""
        if pod.address:
            return Container(pod.address)
        pool = self._pools.get(pod)
        if pool is None:
            up = self._upstream(pod.cluster)
            silent = partial(self._silent, pod.cluster)
            pool = self._pools[pod] = Pool(pod, up.open_channel, self._random, up.gate, silent, self._overdraft)
            pool.listen(listener)
            if self._tasks is not None:
                self._tasks.start(self._run, pool)
        elif listener not in pool.listeners:
            pool.listen(listener)
        return pool

    def leave(self, pod: PodRef, listener: Callable[[], None]) -> None:
        pool = self._pools.get(pod)
        if pool is not None:
            pool.leave(listener)

    def _upstream(self, cluster: str) -> Upstream:
        return self._others(cluster) if cluster else self._default

    def _silent(self, cluster: str) -> None:
        """What ended one session in silence may have ended all to this API server: each is checked at once."""
        self._check(cluster)
        self._upstream(cluster).on_silence()

    def check(self) -> None:
        """The process slept: see at once what still lives."""
        for cluster in {"", *(pod.cluster for pod in self._pools)}:
            self._check(cluster)

    def _check(self, cluster: str) -> None:
        for pod, pool in self._pools.items():
            if pod.cluster == cluster:
                pool.check()
        self._upstream(cluster).gate.release()

    def reopen(self, cluster: str) -> None:
        """A cluster's sessions are opened elsewhere from now on: put no new connection on one that stands."""
        for pod, pool in self._pools.items():
            if pod.cluster == cluster:
                pool.reopen()
        self._upstream(cluster).gate.release()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled; all sessions end with it."""
        async with trio.open_nursery() as nursery:
            with Tasks(nursery) as self._tasks:
                for pool in self._pools.values():
                    self._tasks.start(self._run, pool)
                task_status.started()
                await trio.sleep_forever()

    async def _run(self, pool: Pool) -> None:
        await pool.run()
        while pool.wanted:  # by somebody who came while its last task was ending
            await pool.run()
        del self._pools[pool.pod]
