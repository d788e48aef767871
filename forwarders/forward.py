"""Owns one forward: its listener for life, the connections accepted there, its state as the contract names it.

Refuses to decide anything of the plan: pods and their order come from outside, and may change at any time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import trio

from forwarders.accepting import accept
from forwarders.backend import Backend
from forwarders.bulkhead import contained, kept
from forwarders.counters import Counters
from forwarders.errors import ForwarderError
from forwarders.listeners import BindError, Bound, bind
from forwarders.pools import Pools
from forwarders.ports import PortBook
from forwarders.relay import Relay
from forwarders.spec import Endpoint, ForwardSpec, State, Status
from forwarders.tasks import Tasks
from forwarders.transports.sockets import RawSocket
from forwarders.tunnel import Carrier

logger = logging.getLogger("portside.forwards")


class HoldExpiredError(ForwarderError):
    """Nothing could serve a connection for as long as it may be held."""


class Found(NamedTuple):
    """A tunnel to the pod of `endpoint`; `suspected`: it refused a connection before."""

    endpoint: Endpoint
    tunnel: Carrier
    suspected: bool


class Forward:
    """`run` binds, then serves until it is cancelled. `report` gets every change of `status`; `counters` are read.

    `settled`: the port is bound, or known not to be.
    """

    def __init__(self, spec: ForwardSpec, book: PortBook, pools: Pools, report: Callable[[Status], None]) -> None:
        self.spec = spec
        self.status = Status(id=spec.id, state=State.WAITING)
        self.counters = Counters()
        self._book = book
        self._report = report
        self._bound: Bound | None = None
        self._failure = ""
        self._waiting_for = ""
        self._broken = ""
        self._backend = Backend(pools, spec.patience, self._refresh_status)
        self._patience_moved = trio.Event()
        self._tasks: Tasks | None = None
        self.settled = trio.Event()

    # From the plan

    def serve_from(self, endpoints: tuple[Endpoint, ...], waiting_for: str, broken: str) -> None:
        """Which pods may serve from now on; why there are none; why nothing can work until something changes."""
        self._waiting_for = waiting_for
        self._broken = broken
        self._backend.set(endpoints)
        self._patience_moved.set()

    # Life

    async def run(self) -> None:
        """Closes the listener first when it is cancelled. May be run again after it failed."""
        try:
            await self._bind()
            self.settled.set()
            async with trio.open_nursery() as nursery:
                with Tasks(nursery) as self._tasks:
                    nursery.start_soon(kept, logger, f"{self.spec.label}: waiting for readiness", self._watch_patience)
                    for listener in self._bound.sockets if self._bound else ():
                        serve = partial(accept, RawSocket(listener), self.spec.label, self._tasks, self._serve)
                        nursery.start_soon(kept, logger, f"{self.spec.label}: accepting", serve)
                    await trio.sleep_forever()
        finally:
            if self._bound is not None:
                self._bound.close()
                self._bound = None
            self._backend.close()

    def failed(self, cause: str) -> None:
        """`run` ended by a bug: there is no port until it runs again."""
        self._set_status(Status(id=self.spec.id, state=State.FAILED, reason=f"a bug of portside's: {cause}"))
        self.settled.set()

    def stopped(self) -> None:
        """`run` will not run again."""
        self._set_status(Status(id=self.spec.id, state=State.STOPPED, local_port=self.status.local_port))
        self.settled.set()

    async def _bind(self) -> None:
        self._failure = ""
        try:
            self._bound = await bind(self.spec, self._book)
        except BindError as error:
            self._failure = str(error)
        self._backend.refresh()

    async def _watch_patience(self) -> None:
        """Looks again at the moment when a Running pod will do."""
        while True:
            self._patience_moved = trio.Event()
            left = self._backend.patience_ends - trio.current_time()
            with trio.move_on_after(left if left > 0 else float("inf")):
                await self._patience_moved.wait()
                continue
            self._backend.refresh()

    def adopt(self, local: RawSocket) -> bool:
        """Serve a connection that was accepted elsewhere; False where this forward is on its way out."""
        return self._tasks is not None and self._tasks.start(self._serve, local)

    async def _serve(self, local: RawSocket) -> None:
        def failed(cause: str) -> None:
            self.counters.failed(f"a bug of portside's: {cause}")
            local.reset()

        self.counters.opened()
        try:
            with contained(logger, f"{self.spec.label}: a connection", failed):
                await self._relay(local)
        finally:
            self.counters.closed()

    async def _relay(self, local: RawSocket) -> None:
        relay = Relay(local, _Dial(self), self.spec.linger, self.counters)
        try:
            await relay.run()
        except HoldExpiredError as error:
            self.counters.failed(str(error))
            logger.warning("%s: %s", self.spec.label, error)
            await local.turn_away(str(error))
            return
        if relay.error:
            self.counters.failed(relay.error)
            logger.info("%s: a connection was cut: %s", self.spec.label, relay.error)

    # Connections

    async def hold(self, deadline: float) -> Found:
        """A tunnel to the pod that serves now, waiting for one until `deadline`."""
        if (found := self._at_once()) is not None:
            return found
        if self.counters.held >= self.spec.held:
            raise HoldExpiredError(f"{self.spec.held} connections wait already, which is the limit: one was refused")
        self.counters.held += 1
        try:
            with trio.fail_at(deadline):
                return await self._found()
        except trio.TooSlowError:
            reason = self.status.reason or "nothing answered"
            raise HoldExpiredError(f"a connection was given up after {self.spec.hold:.0f} s: {reason}") from None
        finally:
            self.counters.held -= 1

    def _at_once(self) -> Found | None:
        """As a rule a pod serves."""
        endpoint = self._backend.serving
        if endpoint is None or self._backend.refuses(endpoint):
            return None
        tunnel = self._backend.take(endpoint)
        return None if tunnel is None else Found(endpoint, tunnel, suspected=False)

    async def _found(self) -> Found:
        """Once one does."""
        while True:
            endpoint = self._backend.serving
            if endpoint is not None and self._backend.refuses(endpoint):
                await self._backend.turn(endpoint)
                if endpoint != self._backend.serving:
                    continue
                if (tunnel := self._backend.take(endpoint)) is not None:
                    return Found(endpoint, tunnel, suspected=True)
            await self._backend.changed.wait()
            if (found := self._at_once()) is not None:
                return found

    def refused(self, endpoint: Endpoint) -> None:
        self._backend.refused(endpoint)

    def succeeded(self, endpoint: Endpoint) -> None:
        self._backend.succeeded(endpoint)

    # Status

    def _refresh_status(self) -> None:
        if self._bound is None:
            if self._failure:
                self._set_status(Status(id=self.spec.id, state=State.FAILED, reason=self._failure))
            return
        serving = self._backend.serving
        if serving is not None:
            state, reason = State.READY, self._bound.remark
        elif self._broken:
            state, reason = State.FAILED, self._broken
        else:
            state, reason = State.LISTENING, self._backend.problem or self._waiting_for
        status = Status(id=self.spec.id, state=state, local_port=self._bound.port, endpoint=serving, reason=reason)
        self._set_status(status)

    def _set_status(self, status: Status) -> None:
        if status != self.status:
            self.status = status
            self._report(status)


class _Dial:
    """One connection's dials, all within the hold time that began when it was accepted."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._deadline = trio.current_time() + forward.spec.hold
        self._endpoint: Endpoint | None = None
        self.suspected = False

    async def next(self) -> Carrier:
        self._endpoint, tunnel, self.suspected = await self._forward.hold(self._deadline)
        return tunnel

    def refused(self) -> None:
        if self._endpoint is not None:
            self._forward.refused(self._endpoint)

    def succeeded(self) -> None:
        if self._endpoint is not None:
            self._forward.succeeded(self._endpoint)
