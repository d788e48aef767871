"""Keeps the pools of all wanted pods, and what they share: the retry limit of the API server, and doubts of it.

It knows no forwards: each one that wants a pod subscribes a callback.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import trio

from forwarders.direct import Container
from forwarders.gates import Gate
from forwarders.pool import Open, Pool
from forwarders.spec import PodRef
from forwarders.tasks import Tasks


class Pools:
    """The pools of all pods that someone wants. Holders are told of changes by calling their listener.

    `gate`: the pace of all who try to reach this API server. `on_silence` is called when it seems to be dead.
    """

    def __init__(self, open_channel: Open, random: Random, gate: Gate, on_silence: Callable[[], None]) -> None:
        self._open_channel = open_channel
        self._random = random
        self._gate = gate
        self._on_silence = on_silence
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
            pool = self._pools[pod] = Pool(pod, self._open_channel, self._random, self._gate, self._silent)
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

    def _silent(self) -> None:
        """What ended one session in silence may have ended all: nobody is to find out one by one."""
        self.check()
        self._on_silence()

    def check(self) -> None:
        """The process slept, or the way to the API server is in doubt: see at once what still lives."""
        for pool in self._pools.values():
            pool.check()
        self._gate.open()

    def reopen(self) -> None:
        """Sessions are opened elsewhere from now on: put no new connection on one that stands."""
        for pool in self._pools.values():
            pool.reopen()
        self._gate.open()

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
