"""One forward: binds its listener, lets `relay` serve the connections, and reports its state (docs/reference/json.md).

The plan decides which pods may serve, and in which order; it may change that at any time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import trio

from forwarders.backend import Backend, Upstreams
from forwarders.errors import BindError
from forwarders.holding import WaitingLine
from forwarders.listeners import Bound, accept, bind
from forwarders.relay import Connections
from forwarders.spec import Counts, Endpoint, ForwardSpec, PortBook, State, Status, with_count
from forwarders.system.tcp import SocketWatcher
from forwarders.tasks import Tasks, kept
from forwarders.transports.sockets import RawSocket

logger = logging.getLogger("portside.forwards")

# Seconds until the status shows why connections wait, and between updates: most waits for a late application or a new
# session are shorter.
NOTICE_AFTER, NOTICE_AGAIN = 0.5, 1.0


class Forward:
    """Listens on one local port and serves it from the pods that the plan names. `report` gets each change of `status`.

    `bind_tried`: the port is bound, or known not to be. The caller runs it in `scope`, and sets `ended` afterwards.
    """

    def __init__(
        self,
        spec: ForwardSpec,
        book: PortBook,
        upstreams: Upstreams,
        watcher: SocketWatcher,
        report: Callable[[Status], None],
    ) -> None:
        self.spec = spec
        self.status = Status(id=spec.id, state=State.WAITING)
        self.counters = Counts(since=datetime.now(UTC))
        self._book = book
        self._report = report
        self._bound: Bound | None = None
        self._failure = ""
        self._waiting_for = ""
        self._broken = ""
        self._backend = Backend(upstreams, spec.patience, self._changed)
        self._line = WaitingLine(spec, self._backend, watcher, self.counters, self._why_waiting)
        self.connections = Connections(self._line, self.counters)
        # What the status shows of waiting connections: how many, and why they wait although a pod is ready.
        self._waiting_shown = 0
        self._refusal_shown = self._crowd_shown = False
        self._patience_moved = trio.Event()
        self._tasks: Tasks | None = None
        self.scope = trio.CancelScope()
        self.bind_tried, self.ended = trio.Event(), trio.Event()

    # From the plan

    def serve_from(self, endpoints: tuple[Endpoint, ...], waiting_for: str, broken: str) -> None:
        """Set the pods that may serve, why there are none (`waiting_for`), and why none can work (`broken`)."""
        self._waiting_for = waiting_for
        self._broken = broken
        self._backend.set(endpoints)
        self._patience_moved.set()

    # Life

    async def run(self) -> None:
        """Bind and serve until cancelled; then close the listener first. May be called again after it failed."""
        try:
            self._failure = ""
            try:
                self._bound = await bind(self.spec, self._book)
            except BindError as error:
                self._failure = str(error)
            self._backend.refresh()
            self.bind_tried.set()
            async with trio.open_nursery() as nursery:
                with Tasks(nursery) as self._tasks:
                    nursery.start_soon(kept, logger, f"{self.spec.label}: waiting for readiness", self._watch_patience)
                    nursery.start_soon(kept, logger, f"{self.spec.label}: showing what waits", self._show_waiting)
                    for listener in self._bound.sockets if self._bound else ():
                        serve = partial(
                            accept, RawSocket(listener), self.spec.label, self._tasks, self.connections.serve
                        )
                        nursery.start_soon(kept, logger, f"{self.spec.label}: accepting", serve)
                    await trio.sleep_forever()
        finally:
            if self._bound is not None:
                self._bound.close()
                self._bound = None
            self._backend.close()

    def failed(self, cause: str) -> None:
        """Report that `run` ended by a bug: there is no port until it runs again."""
        self._set_status(Status(id=self.spec.id, state=State.FAILED, reason=f"a bug of portside's: {cause}"))
        self.bind_tried.set()

    def stopped(self) -> None:
        """Report that `run` will not run again."""
        self._set_status(Status(id=self.spec.id, state=State.STOPPED, local_port=self.status.local_port))
        self.bind_tried.set()

    async def _watch_patience(self) -> None:
        """Chooses again when the patience ends and a Running pod will do."""
        while True:
            self._patience_moved = trio.Event()
            left = self._backend.patience_ends - trio.current_time()
            with trio.move_on_after(left if left > 0 else float("inf")):
                await self._patience_moved.wait()
                continue
            self._backend.refresh()

    def adopt(self, local: RawSocket) -> bool:
        """Serve a connection that was accepted elsewhere; False if this forward is ending."""
        return self._tasks is not None and self._tasks.start(self.connections.serve, local)

    # Status

    def _refresh_status(self) -> None:
        if self._bound is None:
            if self._failure:
                self._set_status(Status(id=self.spec.id, state=State.FAILED, reason=self._failure))
            return
        serving = self._backend.serving
        if serving is not None:
            state, why = State.READY, self._why_waiting() if self._refusal_shown or self._crowd_shown else ""
        else:
            hopeless = self._broken or self._backend.forbidden
            state, why = State.FAILED if hopeless else State.LISTENING, self._why_waiting()
        if why or serving is None:
            why = with_count(why, self._waiting_shown)
        remark = self._bound.remark if serving is not None else ""
        reason = "; ".join(part for part in (remark, why) if part)
        via = self._backend.via
        status = Status(
            id=self.spec.id, state=state, local_port=self._bound.port, endpoint=serving, reason=reason, via=via
        )
        self._set_status(status)

    def _why_waiting(self) -> str:
        """The reason why a connection would have to wait now; "" for none."""
        serving = self._backend.serving
        if serving is not None:
            return self._backend.refusal or f"every session to pod {serving.pod.name} is in use"
        if reason := self._broken or self._backend.problem or self._waiting_for:
            return reason
        awaited = self._backend.awaited
        return "" if awaited is None else f"a session to pod {awaited.pod.name} is being opened"

    def _changed(self) -> None:
        self._line.changed()
        self._refusal_shown = self._refusal_shown and bool(self._backend.refusal)
        self._crowd_shown = self._crowd_shown and self._backend.serving is not None
        self._refresh_status()

    async def _show_waiting(self) -> None:
        """While connections wait, finds those that have left, and keeps the reason and their number in the status."""
        while True:
            if not self.counters.held:
                await self._line.began.wait()
            await trio.sleep(NOTICE_AFTER)
            self._line.find_leavers()
            self._show_cause()
            while self.counters.held:
                with trio.move_on_after(NOTICE_AGAIN):
                    await self._line.emptied.wait()
                self._line.find_leavers()
                self._show_cause()

    def _show_cause(self) -> None:
        waits, refusal = self.counters.held, self._backend.refusal
        begins = bool((waits and not self._waiting_shown) or (refusal and not self._refusal_shown))
        self._waiting_shown = waits
        self._refusal_shown = bool(refusal)
        self._crowd_shown = bool(waits and not refusal and self._backend.serving is not None)
        self._refresh_status()
        if begins:
            logger.log(logging.WARNING if refusal else logging.INFO, "%s: %s", self.spec.label, self.status.reason)

    def _set_status(self, status: Status) -> None:
        if status != self.status:
            self.status = status
            self._report(status)
