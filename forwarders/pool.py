"""Owns the sessions to one pod: one ahead of need, more as connections come, none longer than anyone wants the pod.

Refuses to choose pods. A connection gets a session of its own while there are few, so that a stuck reader harms nobody;
many share, bounded.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from random import Random

import trio

from forwarders.gates import Gate
from forwarders.session import Session
from forwarders.signals import Signal
from forwarders.spec import PodRef
from forwarders.transports.channel import Channel
from forwarders.transports.errors import TransportError, UnreachableError
from forwarders.tunnel import DialError, Tunnel
from forwarders.wire.workers import FRAME_WORKERS
from forwarders.writer import SessionLostError, SilentError

logger = logging.getLogger("portside.sessions")

Open = Callable[[PodRef], Awaitable[tuple[Channel, bytes]]]

# Up to here every connection finds a session of its own (once the spare is up, some 35 ms after the last one went).
OWN_SESSIONS = 8
# To open one takes milliseconds of everybody's CPU, which a connection's first answer wants too (half of a first byte).
SPARE_AFTER = 0.02
# Connections a session beyond that: one for each of the peer's workers, so that an application which does not read
# stops nobody else; one stuck reader pauses at most four others. 2,000 connections make 400 sessions.
SHARED = FRAME_WORKERS
# Sessions a pod, whatever happens: each costs the API server two connections and us some 60 KB.
MAX_SESSIONS = 512
# While nobody wants the pod any more: how often its silent connections are looked at, and how long the end of a session
# may take to reach the runtime, which drops what nobody has taken.
UNDIALLED_LOOK, UNDIALLED_PAUSE = 0.5, 0.5
# An idle session none of whose workers becomes free again in this time is stuck.
STUCK_AFTER = 3.0
# Idle sessions beyond the spare are let go after this many seconds.
IDLE_TIMEOUT = 30.0
# Sessions opened side by side while connections wait for one, at most: 2,000 at once need 400, which one by one would
# take 80 s at a round trip of 50 ms.
MAX_OPENING = 8
# An API server that is back, or rights that were given, are to be used within a second. What that costs where it stays
# away: two tries for each pod at once, then one every 0.6 s, all pods (and watches) together one each gates.TURN.
FIRST_BACKOFF, LAST_BACKOFF = 0.05, 0.6
# A session on its way for longer than this when the process slept was asked for before.
STALE_OPENING = 0.5
# A session that is lost sooner than this counts as one that could not be opened.
SHORT_LIFE = 1.0


class Pool:
    """Sessions to one pod. `problem`: why none could be opened last, "" while all is well."""

    def __init__(
        self, pod: PodRef, open_channel: Open, random: Random, gate: Gate, on_silence: Callable[[], None]
    ) -> None:
        self.pod = pod
        self.problem = ""
        self.listeners: set[Callable[[], None]] = set()
        self._open_channel = open_channel
        self._random = random
        self._gate = gate
        self._on_silence = on_silence
        self._sessions: list[Session] = []
        self._demand = Signal()
        # Connections that found no room, counted anew after each change; and sessions on their way.
        self._short = 0
        self._opening: dict[trio.CancelScope, float] = {}
        # The last pause between two tries, the one that is due now, and when the last was over.
        self._backoff = self._pause = self._tried_at = 0.0
        self._away = False
        # Whether `run` waits without a moment at which it looks for idle sessions.
        self._untimed = False

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

    def take(self) -> Session | None:
        """The session for one more connection, or None where the caller must wait for a change. Asks for spares."""
        usable = [session for session in self._sessions if session.usable]
        chosen = min(usable, key=lambda session: session.load, default=None)
        self._short += chosen is None
        if not any(session is not chosen and not session.load for session in usable):
            self._demand.fire()
        return chosen

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

    async def run(self) -> None:
        """Returns once the pod is not wanted and the last connection is gone."""
        async with trio.open_nursery() as nursery:
            while self.wanted or self._sessions or self._opening:
                if not self.wanted and self._sessions:
                    self._give_back_undialled(nursery)
                    await self._wait_for_demand(min(self._retire(), UNDIALLED_LOOK))
                elif not self._wants_more():
                    await self._wait_for_demand(self._retire())
                elif self._pause:
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

    def _give_back_undialled(self, nursery: trio.Nursery) -> None:
        for session in self._sessions:
            tunnel = session.take_undialled()
            if tunnel is not None:
                nursery.start_soon(self._refuse, tunnel)

    async def _refuse(self, tunnel: Tunnel) -> None:
        await trio.sleep(UNDIALLED_PAUSE)
        tunnel.finish(DialError("the pod went away before the runtime had dialled", sandbox_gone=True))

    def _wants_more(self) -> bool:
        if not self.wanted or len(self._sessions) + len(self._opening) >= MAX_SESSIONS:
            return False
        # Side by side as many as stand: a server that does not answer is asked once at a time, one that is back serves.
        at_once = min(MAX_OPENING, -(-self._short // SHARED), len(self._standing))
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
            with opening:
                session = await self._open()
        finally:
            del self._opening[opening]
            self._demand.fire()
        if session is not None:
            await self._serve(session)

    async def _open(self) -> Session | None:
        try:
            channel, received = await self._open_channel(self.pod)
        except TransportError as error:
            if self._away and not isinstance(error, UnreachableError):
                self._gate.open()  # it answers again, if only to refuse this pod
            self._away = isinstance(error, UnreachableError)
            if self.problem != str(error):
                logger.info("%s", error)
            self.problem = str(error)
            self._failed()
            self._changed()
            return None
        if self.problem:
            self.problem = ""
            self._gate.open()
        session = Session(channel, received, self._changed, self._has_room)
        self._sessions.append(session)
        return session

    async def _serve(self, session: Session) -> None:
        began = trio.current_time()
        self._changed()
        try:
            await session.run()
        except SessionLostError as error:
            logger.info("pod %s/%s: %s", self.pod.namespace, self.pod.name, error)
            if isinstance(error, SilentError):
                self._on_silence()
            if trio.current_time() - began < SHORT_LIFE:
                self._failed()
        finally:
            self._sessions.remove(session)
            self._changed()

    def _changed(self) -> None:
        self._short = 0  # whoever waits is told, and asks again
        self._demand.fire()
        for listener in tuple(self.listeners):
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

    def _failed(self) -> None:
        """Doubles the pause before the next try; failures within one pause, and after a quiet time, count as one."""
        if self._pause:
            return
        calm = trio.current_time() - self._tried_at > 2 * LAST_BACKOFF
        self._backoff = FIRST_BACKOFF if calm else min(max(2 * self._backoff, FIRST_BACKOFF), LAST_BACKOFF)
        self._pause = self._backoff * self._random.uniform(0.5, 1.0)

    async def _back_off(self) -> None:
        """Until it is this pool's turn to try again, or nobody wants the pod any more."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_once_unwanted, nursery.cancel_scope)
            wait = self._gate.pause if self._backoff == FIRST_BACKOFF else self._gate.turn
            await wait(self._pause)
            nursery.cancel_scope.cancel()
        self._pause = 0.0
        self._tried_at = trio.current_time()

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
