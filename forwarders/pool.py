"""Owns the sessions to one pod: one ahead of need, more as connections come, none longer than anyone wants the pod.

Refuses to choose pods. A connection gets a session of its own while there are few, so that a stuck reader harms nobody;
many share, bounded.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from random import Random

import trio

from forwarders.backoff import RetryLimiter
from forwarders.errors import RefusedError, TransportError, UnreachableError
from forwarders.hung_dials import UNDIALLED_LOOK, HungDials
from forwarders.overdraft import Overdraft
from forwarders.retries import STEADY, Retries
from forwarders.session import Session
from forwarders.spec import PodRef
from forwarders.tasks import Notifier, contained, kept
from forwarders.transports.channel import Channel
from forwarders.wire.workers import FRAME_WORKERS
from forwarders.writer import SessionLostError, SilentError

logger = logging.getLogger("portside.sessions")

Open = Callable[[PodRef], Awaitable[tuple[Channel, bytes]]]

# Up to here every connection finds a session of its own: a reader that stalls stops its session.
OWN_SESSIONS = 16
# Connections that come together wait for a session of their own, where the fastest so far was open within NEAR seconds.
# The patience is for a busy machine.
NEAR, OWN_PATIENCE = 0.1, 1.0
# To open one takes milliseconds of everybody's CPU, which a connection's first answer wants too (half of a first byte).
SPARE_AFTER = 0.02
# Connections a session beyond that: one for each of the peer's workers, so that an application which does not read
# stops nobody else; one stuck reader pauses at most four others. 2,000 connections make 400 sessions.
SHARED = FRAME_WORKERS
# Sessions a pod, whatever happens: each costs the API server two connections and us some 60 KB.
MAX_SESSIONS = 512
# An idle session none of whose workers becomes free again in this time is stuck.
STUCK_AFTER = 3.0
# Idle sessions beyond the spare are let go after this many seconds.
IDLE_TIMEOUT = 30.0
# Sessions opened side by side while connections wait for one, at most: 2,000 at once need 400, which one by one would
# take 80 s at a round trip of 50 ms.
MAX_OPENING = 8
# A session on its way for longer than this when the process slept was asked for before.
STALE_OPENING = 0.5


class Pool:
    """Sessions to one pod. `problem`: why none could be opened last, "" while all is well.

    `forbidden`: that is a permission that is missing.
    """

    def __init__(
        self,
        pod: PodRef,
        open_channel: Open,
        random: Random,
        gate: RetryLimiter,
        on_silence: Callable[[], None],
        overdraft: Overdraft,
    ) -> None:
        self.pod = pod
        self.problem = ""
        self.forbidden = False
        self.listeners: set[Callable[[], None]] = set()
        self._open_channel = open_channel
        self._gate = gate
        self._on_silence = on_silence
        self._overdraft = overdraft
        self._fastest = math.inf  # seconds that opening a session took
        self._sessions: list[Session] = []
        self._demand = Notifier()
        # Connections that found no room, counted anew after each change; and sessions on their way.
        self._short = 0
        self._opening: dict[trio.CancelScope, float] = {}
        # Sessions that may still turn out to be of no use, and since when they stand.
        self._unjudged: dict[Session, float] = {}
        self._retries = Retries(random, gate)
        self._hung_dials = HungDials()
        self._away = False
        # Whether `run` waits without a moment at which it looks for idle sessions.
        self._untimed = False

    @property
    def _name(self) -> str:
        return f"pod {self.pod.namespace}/{self.pod.name}"

    @property
    def sessions(self) -> int:
        """How many stand."""
        return len(self._sessions)

    @property
    def up(self) -> bool:
        """Whether a session stands, as far as is known."""
        return bool(self._standing)

    @property
    def _standing(self) -> list[Session]:
        return [session for session in self._sessions if not (session.ending or session.doubtful)]

    @property
    def wanted(self) -> bool:
        """While not: idle sessions close, the others when their last connection ends."""
        return bool(self.listeners)

    def take(self, waiting: int = 1) -> Session | None:
        """The session for one more connection, or None where `waiting` of them must wait for a change.

        Asks for spares.
        """
        usable = [session for session in self._sessions if session.usable]
        chosen = min(usable, key=lambda session: session.load, default=None)
        if chosen is None:
            self._short = max(self._short + 1, waiting)
        if not any(session is not chosen and not session.load for session in usable):
            self._demand.fire()
        return chosen

    def own_session_comes(self) -> bool:
        """Whether one more connection should wait, for OWN_PATIENCE at most, instead of sharing a session.

        Asks for one.
        """
        if self._fastest > NEAR or self.problem or not (self.wanted and self._standing):
            return False
        if any(trio.current_time() - began >= OWN_PATIENCE for began in self._opening.values()):
            return False
        if any(session.usable and not session.load for session in self._sessions):
            return False
        if sum(session.load for session in self._sessions) + self._short >= OWN_SESSIONS:
            return False
        self._short += 1
        self._demand.fire()
        return True

    def listen(self, listener: Callable[[], None]) -> None:
        """Want the pod; `listener` is called after every change of the pool."""
        self.listeners.add(listener)
        self._demand.fire()

    def leave(self, listener: Callable[[], None]) -> None:
        """Want it no more."""
        self.listeners.discard(listener)
        self._demand.fire()

    def check(self) -> None:
        """The process slept: every session has to prove itself, and what was on its way is begun anew."""
        for session in self._sessions:
            session.check()
        now = trio.current_time()
        for opening, began in self._opening.items():
            if now - began > STALE_OPENING:
                opening.cancel()
        self._demand.fire()

    def reopen(self) -> None:
        """Put no new connection on a session that stands, and begin again with those that are being opened."""
        for session in self._sessions:
            session.ending = True
        for opening in self._opening:
            opening.cancel()
        self._changed()

    async def run(self) -> None:
        """Returns once the pod is not wanted and the last connection is gone."""
        async with trio.open_nursery() as nursery:
            await kept(logger, f"opening sessions to {self._name}", partial(self._tend, nursery))

    async def _tend(self, nursery: trio.Nursery) -> None:
        """Opens, retires and gives up sessions, which live in `nursery`, as long as there is any use of one."""
        while self.wanted or self._sessions or self._opening:
            for session in [session for session in self._unjudged if session.dismissed]:
                self._judge(session)
            if not self.wanted and self._sessions:
                self._hung_dials.look(self._sessions, nursery)
                await self._wait_for_demand(min(self._retire(), UNDIALLED_LOOK))
            elif not self._wants_more():
                await self._wait_for_demand(self._retire())
            elif self._retries.due:
                await self._back_off()
            elif not self._standing or self._short or await self._lull():
                opening = trio.CancelScope()
                self._opening[opening] = trio.current_time()
                nursery.start_soon(self._open_and_serve, opening)

    async def _lull(self) -> bool:
        """Lets the first bytes of the connection that took the spare go first; whether another is still wanted."""
        with trio.move_on_after(SPARE_AFTER):
            while self.wanted and not self._short:
                await self._demand.wait()
        return self._wants_more()

    def _wants_more(self) -> bool:
        if not self.wanted or len(self._sessions) + len(self._opening) >= MAX_SESSIONS:
            return False
        # Side by side as many as stand: a server that does not answer is asked once at a time, one that is back serves.
        needed = self._short if len(self._sessions) < OWN_SESSIONS else -(-self._short // SHARED)
        at_once = min(MAX_OPENING, needed, len(self._standing))
        if len(self._opening) >= max(1, at_once):
            return False
        if any(session.usable and not session.load for session in self._sessions):
            return False
        if len(self._sessions) < OWN_SESSIONS:
            return True
        room = sum(SHARED - session.load for session in self._sessions if session.usable)
        return room < SHARED

    async def _open_and_serve(self, opening: trio.CancelScope) -> None:
        session = None
        try:
            with opening, contained(logger, f"opening a session to {self._name}", self._unopened):
                session = await self._open()
        finally:
            del self._opening[opening]
            self._demand.fire()
        if session is not None:
            await self._serve(session)

    async def _open(self) -> Session | None:
        began = trio.current_time()
        try:
            channel, received = await self._open_channel(self.pod)
        except TransportError as error:
            if self._away and not isinstance(error, UnreachableError):
                self._gate.release()  # it answers again, if only to refuse this pod
            self._away = isinstance(error, UnreachableError)
            self.forbidden = isinstance(error, RefusedError) and error.status == HTTPStatus.FORBIDDEN
            if self.problem != str(error):
                logger.info("%s", error)
            self._unopened(str(error))
            return None
        if self.problem:
            self.problem, self.forbidden = "", False
            self._gate.release()
        self._fastest = min(self._fastest, trio.current_time() - began)
        session = Session(channel, received, self._changed, self._has_room, self._overdraft)
        self._sessions.append(session)
        self._unjudged[session] = trio.current_time()
        return session

    def _unopened(self, problem: str) -> None:
        self.problem = problem
        self._retries.unopened()
        self._changed()

    async def _serve(self, session: Session) -> None:
        try:
            with contained(logger, f"a session to {self._name}", lambda _: self._judge(session)):
                self._changed()
                await self._run_session(session)
        finally:
            self._unjudged.pop(session, None)
            self._sessions.remove(session)
            self._changed()

    async def _run_session(self, session: Session) -> None:
        try:
            await session.run()
        except SessionLostError as error:
            logger.info("%s: %s", self._name, error)
            if isinstance(error, SilentError):
                self._on_silence()
            self._judge(session)

    def _judge(self, session: Session) -> None:
        """The peer has ended it: what never was of any use is a failure. Once for each session."""
        began = self._unjudged.pop(session, None)
        if began is not None and not session.useful and trio.current_time() - began < STEADY:
            self._retries.useless()

    def _changed(self) -> None:
        self._short = 0  # whoever waits is told, and asks again
        self._demand.fire()
        for listener in tuple(self.listeners):
            with contained(logger, f"a forward's look at {self._name}"):
                listener()

    def _has_room(self, session: Session) -> None:
        if self._short:
            self._changed()
        elif self._untimed or not (self.wanted and session.usable):
            self._demand.fire()

    async def _wait_for_demand(self, seconds: float) -> None:
        self._untimed = math.isinf(seconds)
        with trio.move_on_after(seconds):
            await self._demand.wait()

    async def _back_off(self) -> None:
        """Until it is this pool's turn to try again, or nobody wants the pod any more."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_once_unwanted, nursery.cancel_scope)
            await self._retries.wait()
            nursery.cancel_scope.cancel()

    async def _cancel_once_unwanted(self, scope: trio.CancelScope) -> None:
        while self.wanted:
            await self._demand.wait()
        scope.cancel()

    def _retire(self) -> float:
        """Let idle sessions beyond the spare go; the seconds until the next may."""
        idle = [session for session in self._sessions if not session.load]
        useless = [session for session in idle if session.ending or not self.wanted]
        idle = sorted((s for s in idle if s not in useless), key=lambda session: session.idle_since)
        spare = [session for session in idle if session.usable]
        leaving = {session: session.idle_since + IDLE_TIMEOUT for session in spare[:-1]}
        stuck = [session for session in idle if not (session.usable or session.doubtful)]
        leaving |= {session: session.idle_since + STUCK_AFTER for session in stuck}
        now = trio.current_time()
        for session in [*useless, *(session for session, at in leaving.items() if at <= now)]:
            session.retire()
        return min((at - now for at in leaving.values() if at > now), default=math.inf)
