"""The open sessions to one pod: which one a new connection gets, how many more to open, which idle ones to close.

Everything that a new connection asks takes constant time, however many sessions there are. Also finds connections whose
dial hangs in a pod that is gone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import trio

from forwarders.errors import DialError
from forwarders.session import Session
from forwarders.tunnel import Tunnel
from forwarders.wire.runtimes import PAIR_ENDS_WITHIN
from forwarders.wire.workers import FRAME_WORKERS

# Up to here every connection gets a session of its own: a reader that stalls pauses its session.
OWN_SESSIONS = 16
# A connection that ends sooner than this harms nobody whose session it shares; after so many of them in a row the next
# ones are expected to be short too, and share sessions from the first one on: a burst costs fewer sessions and writes.
SHORT, SHORT_IN_A_ROW = 0.5, 16
# Beyond that, connections a session: one for each of the peer's workers, so that an application which does not read
# stops nobody else. One stuck reader pauses at most four others. 2,000 connections make 400 sessions.
SHARED = FRAME_WORKERS
# Sessions a pod at most, for 5,120 connections: each costs the API server two connections and us some 60 KB.
MAX_SESSIONS = 1024
# Sessions opened side by side while connections wait for one, at most: 2,000 at once need 400, which one by one would
# take 80 s at a round trip of 50 ms.
MAX_OPENING = 8
# Idle sessions beyond the spare are closed after this many seconds.
IDLE_TIMEOUT = 30.0
# An idle session none of whose workers becomes free in this time is stuck.
STUCK_AFTER = 3.0
# Seconds between two looks at the silent connections of a pod that is not wanted: with PAIR_ENDS_WITHIN, 2 s.
SILENT_LOOK = 0.4
# The test dial goes to a port that no application listens on (tcpmux): the runtime looks at the sandbox first.
TEST_PORT = 1
# The test dial may hang as well.
TEST_TIMEOUT = 1.0


class SessionSet:
    """Sorts the sessions by their number of connections. The pool reports every change of a session with `update`."""

    def __init__(self) -> None:
        self._sessions: dict[Session, int] = {}  # with the load that is counted
        self._usable: list[dict[Session, None]] = [{} for _ in range(SHARED + 1)]  # by load
        self._idle: dict[Session, None] = {}  # in the order in which they became idle
        self._latest: Session | None = None  # that took the last connection
        self._short_in_a_row = 0
        self._sandbox_gone = False
        self.load = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions)

    def add(self, session: Session) -> None:
        if self._sandbox_gone:
            self._sandbox_gone = False
            self.dismiss()
        self._sessions[session] = 0
        self._idle[session] = None
        self.update(session)

    def remove(self, session: Session) -> None:
        load = self._sessions.pop(session)
        self.load -= load
        self._usable[load].pop(session, None)
        self._idle.pop(session, None)

    def update(self, session: Session) -> bool:
        """Sort the session again, because its load or its state may have changed; returns whether it is usable."""
        before = self._sessions.get(session)
        if before is None:
            return False
        load = session.load
        if load != before:
            self._usable[before].pop(session, None)
            self._sessions[session] = load
            self.load += load - before
            if load:
                self._idle.pop(session, None)
            else:
                self._idle[session] = None
            if load > before:
                self._latest = session
            elif session.last_lifetime is not None:
                self._short_in_a_row = self._short_in_a_row + 1 if session.last_lifetime < SHORT else 0
        usable = session.usable
        if usable:
            self._usable[load].setdefault(session, None)
        else:
            self._turn_away(session, load)
        return usable

    def _turn_away(self, session: Session, load: int) -> None:
        self._usable[load].pop(session, None)
        session.awaits_room = True

    def dismiss(self) -> None:
        """Open no new connection on the present sessions."""
        for session, load in self._sessions.items():
            session.ending = True
            self._turn_away(session, load)

    def outlive_sandbox(self) -> None:
        """Replace all present sessions by the next one: the sandbox at their other end is gone.

        Until then they stay, because they can still tell that it is gone (HungDials), and the next one may fail: the
        pod may have ended.
        """
        self._sandbox_gone = True

    # For new connections

    @property
    def short_lived(self) -> bool:
        """Whether new connections are expected to be short."""
        return self._short_in_a_row >= SHORT_IN_A_ROW

    def choose(self) -> Session | None:
        """Return the session for a new connection; None if no session is usable."""
        latest = self._latest
        if self.short_lived and latest in self._sessions and latest.load and latest.usable and latest.busy_for < SHORT:
            latest.in_burst = True
            return latest
        return self._least_loaded()

    def _least_loaded(self) -> Session | None:
        """A usable session with the fewest connections, of idle ones the latest: the others are closed in time."""
        for load, sessions in enumerate(self._usable):
            while sessions:
                session = next(reversed(sessions))
                if session.usable:  # frames that were sent since the last update may have changed that
                    return session
                self._turn_away(session, load)
        return None

    def has_idle(self, besides: Session | None = None) -> bool:
        """Whether any usable session other than `besides` has no connections."""
        return any(session is not besides and session.usable for session in reversed(self._usable[0]))

    @property
    def standing(self) -> Iterator[Session]:
        """The open sessions that answer PINGs and are not ending."""
        return (session for session in self._sessions if not (session.ending or session.doubtful))

    # For the pool

    def wants_more(self, opening: int, waiting: int) -> bool:
        """Whether to open one more. `opening`: those that are being opened; `waiting`: connections that found none."""
        if self._sandbox_gone and self._sessions:
            return not opening
        count = len(self._sessions)
        if count + opening >= MAX_SESSIONS:
            return False
        # Side by side as many as stand: a server that does not answer is asked once at a time, one that is back serves.
        own = count < OWN_SESSIONS and not self.short_lived
        needed = waiting if own else -(-waiting // SHARED)
        at_once = min(needed, sum(1 for _ in itertools.islice(self.standing, MAX_OPENING)))
        if opening >= max(1, at_once) or self.has_idle():
            return False
        if own:
            return True
        room = sum(len(sessions) * (SHARED - load) for load, sessions in enumerate(self._usable))
        return room < SHARED

    def retire(self, *, wanted: bool) -> float:
        """Closes idle sessions beyond the spare, all of them while the pod is not `wanted`.

        Returns the seconds until the next one may be closed.
        """
        now, next_at = trio.current_time(), math.inf
        spares: list[tuple[Session, float]] = []
        testers = [] if wanted else self.testers()
        for session in tuple(self._idle):
            if session in testers:
                continue
            if session.ending or not wanted:
                session.retire()
            elif session.usable:
                spares.append((session, session.idle_since + IDLE_TIMEOUT))
            elif not session.doubtful:
                next_at = min(next_at, self._retire_at(session, session.idle_since + STUCK_AFTER, now))
        for session, at in spares[:-1]:
            next_at = min(next_at, self._retire_at(session, at, now))
        return next_at - now

    def testers(self) -> list[Session]:
        """The sessions for test dials (HungDials): those with silent tunnels, or another if none of them has room."""
        silent = [session for session in self._sessions if session.silent_tunnels()]
        testable = [session for session in silent if session.testable]
        if silent and not testable:
            others = (session for session in (*reversed(self._idle), *self._sessions) if session.testable)
            testable = [*itertools.islice(others, 1)]
        return testable

    def _retire_at(self, session: Session, at: float, now: float) -> float:
        if at > now:
            return at
        session.retire()
        self.update(session)
        return math.inf


class HungDials:
    """Fails tunnels whose dial hangs in a sandbox that is gone, so that they are dialled in another pod.

    The runtime's connect(2) hangs if its network namespace goes away at that moment. Nothing comes back, for 20 s or
    for ever. A test dial on a session to the same pod tells whether the sandbox is gone. If it is, no application is
    left, and what had been connected ends within PAIR_ENDS_WITHIN: a tunnel that is still silent then was never
    connected.
    """

    def __init__(self) -> None:
        self._testing: set[Session] = set()

    def look(self, sessions: SessionSet, nursery: trio.Nursery) -> None:
        """Start test dials if sessions have silent tunnels. Call every SILENT_LOOK while the pod is not wanted.

        What one session tells of the sandbox is true for all.
        """
        for session in sessions.testers():
            if session not in self._testing:
                self._testing.add(session)
                silent = [tunnel for one in sessions for tunnel in one.silent_tunnels()]
                nursery.start_soon(self._test, session, silent)

    async def _test(self, session: Session, silent: list[Tunnel]) -> None:
        try:
            if await _sandbox_is_gone(session):
                await trio.sleep(PAIR_ENDS_WITHIN)
                for tunnel in silent:
                    if not (tunnel.received or tunnel.finished or tunnel.closed):
                        tunnel.fail(DialError("the pod went away before the runtime had dialled", sandbox_gone=True))
        finally:
            self._testing.discard(session)


async def _sandbox_is_gone(session: Session) -> bool:
    test = session.open(TEST_PORT)
    with trio.move_on_after(TEST_TIMEOUT):
        await test.wait_finished()
    error = test.error
    test.abort()
    return isinstance(error, DialError) and error.sandbox_gone
