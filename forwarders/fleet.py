"""Runs all forwards, by id, and keeps what they share: the pools of sessions to pods, and the book of ports.

It compares no plans: the caller tells it what to start, change and stop, in order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from copy import copy
from functools import partial
from random import Random

import trio
from msgspec.structs import replace

from forwarders.forward import Forward
from forwarders.pool import Pool
from forwarders.session_io import UnreadBudget
from forwarders.spec import Counts, Endpoint, ForwardSpec, PodRef, PortBook, Status
from forwarders.system.tcp import SocketWatcher
from forwarders.tasks import Tasks, contained, kept
from forwarders.transports.api_server import ClusterRoute
from forwarders.transports.direct import DirectUpstream
from forwarders.transports.sockets import RawSocket
from forwarders.tunnel import Upstream

logger = logging.getLogger("portside.forwards")


class Pools:
    """Runs a pool for each wanted pod. `route`: returns the route to a cluster, the same one for each call."""

    def __init__(self, route: Callable[[str], ClusterRoute], random: Random) -> None:
        self.watcher = SocketWatcher()
        self._route = route
        self._random = random
        self._budget = UnreadBudget()
        self._pools: dict[PodRef, Pool] = {}
        self._tasks: Tasks | None = None

    @property
    def sessions(self) -> int:
        """How many sessions are open, to all pods."""
        return sum(pool.sessions for pool in self._pools.values())

    def get(self, pod: PodRef) -> Upstream | None:
        return DirectUpstream(pod.address, self.watcher) if pod.address else self._pools.get(pod)

    def want(self, pod: PodRef, listener: Callable[[], None], *, running: bool) -> Upstream:
        """Subscribe to the pod's pool, which then opens a session; a container needs none."""
        if pod.address:
            return DirectUpstream(pod.address, self.watcher)
        pool = self._pools.get(pod)
        if pool is None:
            route = replace(self._route(pod.cluster), on_silence=partial(self._silent, pod.cluster))
            pool = self._pools[pod] = Pool(pod, route, self._random, self._budget, self.watcher)
            if self._tasks is not None:
                self._tasks.start(self._run, pool)
        pool.subscribe(listener, running=running)
        return pool

    def leave(self, pod: PodRef, listener: Callable[[], None]) -> None:
        """Unsubscribe the listener."""
        pool = self._pools.get(pod)
        if pool is not None:
            pool.unsubscribe(listener)

    def _silent(self, cluster: str) -> None:
        """Checks each session of the cluster: what ended one in silence may have ended all."""
        self._check(cluster)
        self._route(cluster).on_silence()

    def check(self) -> None:
        """Check at once which sessions are alive, because the process slept or API servers may be away."""
        for cluster in {"", *(pod.cluster for pod in self._pools)}:
            self._check(cluster)

    def _check(self, cluster: str) -> None:
        for pool in self._of(cluster):
            pool.check()
        self._route(cluster).limiter.release()

    def reopen(self, cluster: str = "") -> None:
        """Open no new connection on the cluster's present sessions: they are opened elsewhere from now on."""
        for pool in self._of(cluster):
            pool.reopen()
        self._route(cluster).limiter.release()

    def _of(self, cluster: str) -> list[Pool]:
        return [pool for pod, pool in self._pools.items() if pod.cluster == cluster]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run all pools until cancelled; all sessions end with it."""
        with closing(self.watcher):
            async with trio.open_nursery() as nursery:
                with Tasks(nursery) as self._tasks:
                    nursery.start_soon(kept, logger, "watching sockets", self.watcher.run)
                    for pool in self._pools.values():
                        self._tasks.start(self._run, pool)
                    task_status.started()
                    await trio.sleep_forever()

    async def _run(self, pool: Pool) -> None:
        await pool.run()
        while pool.wanted:  # by a forward that came while the pool's task was ending
            await pool.run()
        del self._pools[pool.pod]


class Fleet:
    """Starts, updates and stops forwards by id. `report` gets every change of a status; `route`: see `Pools`."""

    def __init__(self, route: Callable[[str], ClusterRoute], random: Random, report: Callable[[Status], None]) -> None:
        self.pools = Pools(route, random)
        self._book = PortBook()
        self._report = report
        self._running: dict[str, Forward] = {}
        self._tasks: Tasks | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, then close every listener and every session at once."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.pools.run)
            with Tasks(nursery) as self._tasks:
                task_status.started()
                await trio.sleep_forever()

    @property
    def ports(self) -> Mapping[str, int]:
        """The local port of each bound forward, by id."""
        statuses = (forward.status for forward in self._running.values())
        return {status.id: status.local_port for status in statuses if status.local_port}

    def counters(self) -> dict[str, Counts]:
        """What each forward has carried so far, by id."""
        return {ident: copy(forward.counters) for ident, forward in self._running.items()}

    def reserve(self, specs: Iterable[ForwardSpec]) -> None:
        """Reserve every explicitly requested port for the specs that request it."""
        self._book.reserve(specs)

    async def start(
        self, spec: ForwardSpec, endpoints: tuple[Endpoint, ...], waiting_for: str = "", broken: str = ""
    ) -> None:
        """Start a forward; return once its port is bound, or known not to be."""
        if self._tasks is None:
            raise RuntimeError("Fleet.start before Fleet.run")
        forward = Forward(spec, self._book, self.pools, self.pools.watcher, self._reported)
        forward.serve_from(endpoints, waiting_for, broken)
        self._running[spec.id] = forward
        if self._tasks.start(self._run, forward):
            await forward.bind_tried.wait()

    def _reported(self, status: Status) -> None:
        with contained(logger, f"showing the state of {status.id}"):
            self._report(status)

    def update(self, ident: str, endpoints: tuple[Endpoint, ...], waiting_for: str = "", broken: str = "") -> None:
        self._running[ident].serve_from(endpoints, waiting_for, broken)

    def adopt(self, ident: str, local: RawSocket) -> bool:
        """Give that forward a connection that was accepted elsewhere; False if there is no such forward."""
        forward = self._running.get(ident)
        return forward is not None and forward.adopt(local)

    def confirming(self, ident: str, port: int, confirmed: Callable[[], None]) -> AbstractContextManager[None]:
        """Connections.confirming of that forward, for the client at `port`; without such a forward: confirm at once."""
        forward = self._running.get(ident)
        if forward is not None:
            return forward.connections.confirming(port, confirmed)
        confirmed()
        return nullcontext()

    async def stop(self, ident: str) -> None:
        """Stop a forward and cut its connections; return once its port is free."""
        forward = self._running.get(ident)
        if forward is not None:
            forward.scope.cancel()
            await forward.ended.wait()

    async def _run(self, forward: Forward) -> None:
        spec = forward.spec
        try:
            with forward.scope:
                await kept(logger, spec.id, forward.run, forward.failed)
        finally:
            forward.stopped()
            del self._running[spec.id]
            if all(other.spec.group != spec.group for other in self._running.values()):
                self._book.forget(spec.group)
            forward.ended.set()
