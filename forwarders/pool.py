"""The sessions to one pod: opens them ahead of need, and closes those that are not needed.

It does not choose pods. A connection gets a session of its own while there are few, so that a stuck reader harms no
other connection; many connections share sessions, within a bound (session_set.py).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from random import Random

import trio

from forwarders.backoff import STEADY, SessionBackoff
from forwarders.errors import RefusedError, SessionLostError, SilentError, TransportError, UnreachableError
from forwarders.session import Session
from forwarders.session_io import SessionEvent, UnreadBudget
from forwarders.session_set import OWN_SESSIONS, SILENT_LOOK, HungDials, SessionSet
from forwarders.spec import Endpoint, PodRef
from forwarders.system.tcp import SocketWatcher
from forwarders.tasks import Notifier, contained, kept
from forwarders.transports.api_server import ClusterRoute
from forwarders.transports.own_address import OwnAddress
from forwarders.tunnel import TunnelProtocol

logger = logging.getLogger("portside.sessions")

# Connections that arrive together wait for a session of their own if the fastest so far was open within NEAR seconds,
# for OWN_PATIENCE at most: a busy machine takes longer.
NEAR, OWN_PATIENCE = 0.1, 1.0
# Opening a session takes milliseconds of CPU, which a connection's first answer needs too (half of a first byte).
SPARE_AFTER = 0.02
# A session that was being opened for longer than this was requested before the process slept, or before the pod ran.
STALE_OPENING = 0.5


class Pool:
    """Opens and closes the sessions to one pod (`tunnel.Upstream`). `problem`: why the last try to open one failed."""

    def __init__(
        self, pod: PodRef, route: ClusterRoute, random: Random, budget: UnreadBudget, watcher: SocketWatcher
    ) -> None:
        self.pod = pod
        self.problem = ""
        self.forbidden = False
        self._name = f"pod {pod.namespace}/{pod.name}"
        self._route = route
        self._budget = budget
        self._listeners: set[Callable[[], None]] = set()
        self._running = False  # whether the pod's containers run, as far as the listeners know
        self._fastest = math.inf  # seconds that opening a session took
        self._sessions = SessionSet()
        self._demand = Notifier()
        self._waiting = 0  # connections that found no session since the last change
        # Sessions that are being opened, and since when.
        self._opening: dict[trio.CancelScope, float] = {}
        # Sessions that may still turn out to be useless, and since when they are open.
        self._unjudged: dict[Session, float] = {}
        self._backoff = SessionBackoff(random, route.limiter)
        self._backing_off = trio.CancelScope()
        self._away = False
        self._hung_dials = HungDials()
        self._own_address = OwnAddress(pod, route, watcher, self._changed)
        self._untimed = False  # whether `run` waits without a deadline for idle sessions

    @property
    def sessions(self) -> int:
        """How many sessions are open."""
        return len(self._sessions)

    @property
    def up(self) -> bool:
        return any(True for _ in self._sessions.standing)

    @property
    def wanted(self) -> bool:
        """Whether anybody is subscribed; if not, each session is closed when its last connection ends."""
        return bool(self._listeners)

    # For connections

    def open(self, endpoint: Endpoint, waiting: int = 1) -> TunnelProtocol | None:
        # A session is open: the API server permits forwarding to this pod, so its own address is no way around that.
        if self._sessions and not self.forbidden and (direct := self._own_address.open(endpoint)):
            return direct
        session = self.take(waiting)
        return None if session is None else session.open(endpoint.port)

    def via(self, endpoint: Endpoint) -> str:
        return "pod" if self._own_address.serves(endpoint) else "apiserver"

    def take(self, waiting: int = 1) -> Session | None:
        """Choose the session for a new connection; None: `waiting` connections wait for a change. Requests a spare."""
        chosen = self._sessions.choose()
        if chosen is None:
            self._waiting = max(self._waiting + 1, waiting)
        if not self._sessions.has_idle(besides=chosen):
            self._demand.fire()
        return chosen

    def own_session_comes(self, endpoint: Endpoint) -> bool:
        """Whether one more connection should wait, for OWN_PATIENCE at most, instead of sharing. Requests a session."""
        if self._sessions.short_lived or self.via(endpoint) == "pod" or self._fastest > NEAR:
            return False
        if self.problem or not (self.wanted and self.up):
            return False
        if self._sessions.has_idle() or self._sessions.load + self._waiting >= OWN_SESSIONS:
            return False
        if any(trio.current_time() - began >= OWN_PATIENCE for began in self._opening.values()):
            return False
        self._waiting += 1
        self._demand.fire()
        return True

    # For those who want the pod

    def subscribe(self, listener: Callable[[], None], *, running: bool) -> None:
        """Keep sessions to the pod open. Calls `listener` after every change of the pool.

        `running`: whether the pod's containers run. Until then a failed try says nothing, and tries become rare.
        """
        if running and not self._running:
            self._running = True
            self._backoff.forget()
            self._backing_off.cancel()
            self._cancel_stale_openings()
        elif not (running or self._listeners):
            self._backoff.early()
        if listener not in self._listeners:
            self._listeners.add(listener)
            self._demand.fire()

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        self._listeners.discard(listener)
        if not self.wanted:
            self._backing_off.cancel()
        self._demand.fire()

    def check(self) -> None:
        """The process slept: every session has to prove that it is alive, and stale openings start again."""
        for session in tuple(self._sessions):
            session.check()
        self._cancel_stale_openings()
        self._demand.fire()

    def _cancel_stale_openings(self) -> None:
        now = trio.current_time()
        for opening, began in self._opening.items():
            if now - began > STALE_OPENING:
                opening.cancel()

    def reopen(self) -> None:
        """Open no new connection on the present sessions, and start again with those that are being opened."""
        self._sessions.dismiss()
        for opening in self._opening:
            opening.cancel()
        self._changed()

    # Tasks

    async def run(self) -> None:
        """Open and serve sessions until the pod is not wanted and the last connection is gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept, logger, f"asking for the address of {self._name}", self._own_address.run)
            await kept(logger, f"opening sessions to {self._name}", partial(self._tend, nursery))
            nursery.cancel_scope.cancel()

    async def _tend(self, nursery: trio.Nursery) -> None:
        """Opens and retires sessions, which run in `nursery`, while any is wanted, open or being opened."""
        while self.wanted or self._sessions or self._opening:
            if not self.wanted and self._sessions:
                self._hung_dials.look(self._sessions, nursery)
                await self._wait_for_demand(min(self._retire(), SILENT_LOOK))
            elif not self._wants_more():
                await self._wait_for_demand(self._retire())
            elif self._backoff.due:
                with trio.CancelScope() as self._backing_off:  # left when the pod is no longer wanted
                    await self._backoff.wait()
            elif not self.up or self._waiting or await self._lull():
                opening = trio.CancelScope()
                self._opening[opening] = trio.current_time()
                nursery.start_soon(self._open_and_serve, opening)

    def _wants_more(self) -> bool:
        return self.wanted and self._sessions.wants_more(len(self._opening), self._waiting)

    def _retire(self) -> float:
        up = self.up
        seconds = self._sessions.retire(wanted=self.wanted)
        if self.up is not up:
            self._changed()
        return seconds

    async def _lull(self) -> bool:
        """Delays a spare, which would compete with a new connection's first byte; whether it is still needed."""
        with trio.move_on_after(SPARE_AFTER):
            while self.wanted and not self._waiting:
                await self._demand.wait()
        return self._wants_more()

    async def _wait_for_demand(self, seconds: float) -> None:
        self._untimed = math.isinf(seconds)
        with trio.move_on_after(seconds):
            await self._demand.wait()

    async def _open_and_serve(self, opening: trio.CancelScope) -> None:
        session = None
        try:
            with opening, contained(logger, f"opening a session to {self._name}", self._unopened):
                session = await self._open()
                if session is not None and opening.cancel_called:  # it was answered in the moment of `reopen`
                    session.ending = True
        finally:
            del self._opening[opening]
            self._demand.fire()
        if session is not None:
            await self._serve(session)

    async def _open(self) -> Session | None:
        began, running = trio.current_time(), self._running
        try:
            channel, received = await self._route.open_channel(self.pod)
        except TransportError as error:
            if not running:
                logger.debug("%s", error)
                if not self._running:
                    self._backoff.early()
                return None
            if self._away and not isinstance(error, UnreachableError):
                self._route.limiter.release()  # it answers again, if only to refuse this pod
            self._away = isinstance(error, UnreachableError)
            self.forbidden = isinstance(error, RefusedError) and error.status == HTTPStatus.FORBIDDEN
            if self.problem != str(error):
                logger.info("%s", error)
            self._unopened(str(error))
            return None
        if self.problem:
            self.problem, self.forbidden = "", False
            self._route.limiter.release()
        self._fastest = min(self._fastest, trio.current_time() - began)
        session = Session(channel, received, self._on_event, self._budget)
        self._sessions.add(session)
        self._unjudged[session] = trio.current_time()
        return session

    def _unopened(self, problem: str) -> None:
        self.problem = problem
        self._backoff.unopened()
        self._changed()

    async def _serve(self, session: Session) -> None:
        try:
            with contained(logger, f"a session to {self._name}", lambda _: self._judge(session)):
                self._changed()
                try:
                    await session.run()
                except SessionLostError as error:
                    logger.info("%s: %s", self._name, error)
                    if isinstance(error, SilentError):
                        self._route.on_silence()
                    self._judge(session)
        finally:
            self._unjudged.pop(session, None)
            self._sessions.remove(session)
            self._changed()

    def _judge(self, session: Session) -> None:
        """Backs off if the peer ended the session before it was of any use. Counts each session once."""
        began = self._unjudged.pop(session, None)
        if began is not None and not session.useful and trio.current_time() - began < STEADY:
            self._backoff.useless()

    # Changes

    def _on_event(self, session: Session, event: SessionEvent) -> None:
        usable = self._sessions.update(session)
        match event:
            case SessionEvent.CLOSED | SessionEvent.ROOM:
                if self._waiting:
                    self._changed()
                elif self._untimed or not (self.wanted and usable):
                    self._demand.fire()
            case SessionEvent.HEALTH:
                self._changed()
            case SessionEvent.DISMISSED | SessionEvent.GONE:
                self._judge(session)
                if event is SessionEvent.GONE:
                    self._sessions.outlive_sandbox()
                self._changed()

    def _changed(self) -> None:
        self._waiting = 0  # those that wait are told, and ask again
        self._demand.fire()
        for listener in tuple(self._listeners):
            with contained(logger, f"a forward's look at {self._name}"):
                listener()
