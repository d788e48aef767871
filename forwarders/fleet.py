"""Runs all forwards, by id, and keeps what they share: the sessions to pods and the book of ports.

It compares no plans: the caller tells it what to start, change and stop, in order.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from random import Random

import trio

from forwarders.backoff import TURN, RetryLimiter
from forwarders.forward import Forward
from forwarders.pool import Open
from forwarders.pools import Pools, Upstream, no_others
from forwarders.spec import Counts, Endpoint, ForwardSpec, PortBook, Status
from forwarders.system.tcp import DisconnectWatcher
from forwarders.tasks import Tasks, contained, kept
from forwarders.transports.sockets import RawSocket

logger = logging.getLogger("portside.forwards")


class _Running:
    """A forward with the means to end it."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self.scope = trio.CancelScope()
        self.ended = trio.Event()


class Fleet:
    """`report` gets every forward's every change of status, `on_silence` when a session gives no sign of life.

    `gate`: the pace of tries at the API server, where it is shared with others. `others`: as for Pools.
    """

    def __init__(
        self,
        open_channel: Open,
        random: Random,
        report: Callable[[Status], None],
        *,
        gate: RetryLimiter | None = None,
        on_silence: Callable[[], None] = lambda: None,
        others: Callable[[str], Upstream] = no_others,
    ) -> None:
        self._pools = Pools(open_channel, random, gate or RetryLimiter(TURN), on_silence, others)
        self._watcher = DisconnectWatcher()
        self._book = PortBook()
        self._report = report
        self._running: dict[str, _Running] = {}
        self._tasks: Tasks | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled: then every listener closes at once, and every session."""
        with contextlib.closing(self._watcher):
            async with trio.open_nursery() as nursery:
                await nursery.start(self._pools.run)
                with Tasks(nursery) as self._tasks:
                    nursery.start_soon(kept, logger, "watching for clients that leave", self._watcher.run)
                    task_status.started()
                    await trio.sleep_forever()

    def check(self) -> None:
        """The process slept, or the way to the API server is in doubt: see at once which sessions still live."""
        self._pools.check()

    def reopen(self, cluster: str = "") -> None:
        """A cluster's sessions are opened elsewhere from now on: put no new connection on one that stands."""
        self._pools.reopen(cluster)

    @property
    def ports(self) -> Mapping[str, int]:
        """The local port of each forward that is bound."""
        statuses = (running.forward.status for running in self._running.values())
        return {status.id: status.local_port for status in statuses if status.local_port}

    def counters(self) -> dict[str, Counts]:
        """What each forward has carried so far, by id."""
        return {ident: running.forward.counters.counts() for ident, running in self._running.items()}

    def sessions(self) -> int:
        """How many sessions to pods stand."""
        return self._pools.sessions

    def reserve(self, specs: Iterable[ForwardSpec]) -> None:
        """Keep every explicitly asked port of these for those who asked."""
        self._book.reserve(specs)

    async def start(
        self, spec: ForwardSpec, endpoints: tuple[Endpoint, ...], waiting_for: str = "", broken: str = ""
    ) -> None:
        """Returns once the port is bound, or known not to be."""
        if self._tasks is None:
            raise RuntimeError("Fleet.start before Fleet.run")
        running = _Running(Forward(spec, self._book, self._pools, self._watcher, self._reported))
        running.forward.serve_from(endpoints, waiting_for, broken)
        self._running[spec.id] = running
        if self._tasks.start(self._run, running):
            await running.forward.settled.wait()

    def _reported(self, status: Status) -> None:
        with contained(logger, f"showing the state of {status.id}"):
            self._report(status)

    def update(self, ident: str, endpoints: tuple[Endpoint, ...], waiting_for: str = "", broken: str = "") -> None:
        self._running[ident].forward.serve_from(endpoints, waiting_for, broken)

    def adopt(self, ident: str, local: RawSocket) -> bool:
        """Give that forward a connection accepted elsewhere; whether there is such a forward."""
        running = self._running.get(ident)
        return running is not None and running.forward.adopt(local)

    async def stop(self, ident: str) -> None:
        """Returns once the port is free; connections through it are cut."""
        running = self._running.get(ident)
        if running is not None:
            running.scope.cancel()
            await running.ended.wait()

    async def _run(self, running: _Running) -> None:
        spec = running.forward.spec
        try:
            with running.scope:
                await kept(logger, spec.id, running.forward.run, running.forward.failed)
        finally:
            running.forward.stopped()
            del self._running[spec.id]
            if all(other.forward.spec.group != spec.group for other in self._running.values()):
                self._book.forget(spec.group)
            running.ended.set()
