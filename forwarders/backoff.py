"""Paces all retries: growing pauses, a rate limit shared by all callers, and one pace each for sessions and for dials.

An API server that is away is away for every watch and every pod: many callers need not ask often for one of them to
find out soon. A success that does not last (a session that ends with GOAWAY, a watch that is cut at once) must not
turn that into a flood, so repeated releases become rare.
"""

from __future__ import annotations

import math
from random import Random

import trio

from forwarders.tasks import Notifier

# Seconds between two retries at the API server, for all its watches and pods together.
TURN = 0.1
# Seconds without another release after one. A release that follows soon after such a rest doubles the rest: sixty
# waiters that are released by a server in which nothing lasts cost it sixty requests, so once a minute is enough.
FIRST_REST, LAST_REST = 1.0, 60.0

# A recovered API server, or granted rights, are used within a second. While they are missing that costs two tries for
# each pod at once, then one every 0.6 s, and for all pods (and watches) together one each TURN.
FIRST_BACKOFF, LAST_BACKOFF = 0.05, 0.6
# The same if sessions are opened but end at once, so that asking often is of no use: up to this long.
LAST_USELESS = 2.0
# The same while a pod starts, before each try: the pod has a sandbox after some tenths of a second, and none as long as
# a volume or its network is missing. No API object says when. Once the pod runs there is no pause.
FIRST_EARLY, LAST_EARLY = 0.25, 8.0
# A session that carried nothing, and that the peer ended (a GOAWAY counts) sooner than this, was useless.
STEADY = 10.0
# After so long without a failure the next one counts as the first.
CALM = STEADY + LAST_USELESS

# Seconds between a refused dial and the next one: a share of the time since the first refusal, within bounds. So a port
# that listens after a moment is found within a quarter of that moment, 2 s at most. One that never does is dialled 50
# times in the first minute, and then every 2 s.
FIRST_PAUSE, LAST_PAUSE, SHARE = 0.025, 2.0, 0.25
# Seconds for which a pod whose sandbox is gone gives way to others that are Ready. By then the plan has dropped a pod
# that has ended, and any other one has a new sandbox.
GONE_FOR = 5.0


class Backoff:
    """Computes waits that double from `first` to `last` seconds; each is cut at random by up to half."""

    def __init__(self, random: Random, first: float, last: float) -> None:
        self._random = random
        self._first = first
        self._last = last
        self.failures = 0

    def next(self) -> float:
        """Count a failure; return the seconds to wait after it."""
        # 2**32 seconds are over a century: the exponent must end somewhere before floats do.
        longest = min(self._last, self._first * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return longest * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin with the first wait again, because a try succeeded."""
        self.failures = 0


class RetryLimiter:
    """Rate-limits retries at one server: one each `interval` seconds. One success releases every waiter.

    The first retry after a failure is not limited (`wait`).
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = 0.0
        self._released = Notifier()
        self._waiting = 0
        self._rest = FIRST_REST
        self._rests_until = -math.inf

    async def wait_turn(self, pause: float) -> None:
        """Wait `pause` seconds, longer if other retries are due first; until released at most."""
        if not await self.wait(pause):
            now = trio.current_time()
            at = max(now, self._next)
            self._next = at + self._interval
            await self.wait(at - now)

    async def wait(self, seconds: float) -> bool:
        """Wait `seconds` without a turn in the queue, until released at most; return whether it was released.

        The first failure skips the queue, so a broken connection is retried immediately.
        """
        self._waiting += 1
        try:
            with trio.move_on_after(seconds):
                await self._released.wait()
                return True
            return False
        finally:
            self._waiting -= 1

    def release(self) -> None:
        """Release all waiters, because a caller succeeded; not if such successes did not last lately."""
        now = trio.current_time()
        if not self._waiting or now < self._rests_until:
            return
        soon = now < self._rests_until + self._rest
        self._rest = min(2 * self._rest, LAST_REST) if soon else FIRST_REST
        self._rests_until = now + self._rest
        self._next = 0.0
        self._released.fire()


class SessionBackoff:
    """Paces one pool's tries to open a session.

    Failures while a pause is due count as one: sessions die together when a server restarts.
    """

    def __init__(self, random: Random, limiter: RetryLimiter) -> None:
        self._limiter = limiter
        self._unopened = Backoff(random, FIRST_BACKOFF, LAST_BACKOFF)
        self._useless = Backoff(random, FIRST_BACKOFF, LAST_USELESS)
        self._early = Backoff(random, FIRST_EARLY, LAST_EARLY)
        self._pause = 0.0
        self._failed_at = -math.inf

    @property
    def due(self) -> bool:
        """Whether the caller has to `wait` before its next try."""
        return self._pause > 0

    def unopened(self) -> None:
        """Count a session that could not be opened."""
        self._failed(self._unopened)

    def useless(self) -> None:
        """Count a session that ended before it was of any use."""
        self._failed(self._useless)

    def early(self) -> None:
        """Wait longer before the next try: the pod starts, and has no sandbox yet."""
        self._failed(self._early)

    def forget(self) -> None:
        """Let the next try begin at once."""
        self._pause, self._failed_at = 0.0, -math.inf

    async def wait(self) -> None:
        """Wait until this pool may try again; first retries, and early tries, do not queue behind those of others."""
        first = self._unopened.failures + self._useless.failures <= 1
        await (self._limiter.wait if first else self._limiter.wait_turn)(self._pause)
        self._pause = 0.0

    def _failed(self, backoff: Backoff) -> None:
        if self.due:
            return
        now = trio.current_time()
        if now - self._failed_at > CALM:
            self._unopened.reset()
            self._useless.reset()
        self._failed_at = now
        self._pause = backoff.next()


class DialBackoff:
    """Paces the dials of one port in a pod that refuses connections: one at a time, with a pause after each.

    `reason`: of the last refusal. `due`: when the port may be dialled again; infinite during a dial.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._gone_until = -math.inf
        self.due = 0.0
        self._since = trio.current_time()

    @property
    def sandbox_gone(self) -> bool:
        """Whether the last refusal said so, not long ago."""
        return trio.current_time() < self._gone_until

    def begin(self) -> None:
        """Note that a dial has begun."""
        self.due = math.inf

    def refused(self, reason: str, *, sandbox_gone: bool) -> None:
        """Note that the runtime could not connect, and why."""
        self.reason = reason
        now = trio.current_time()
        self._gone_until = now + GONE_FOR if sandbox_gone else -math.inf
        self.due = now + min(max(SHARE * (now - self._since), FIRST_PAUSE), LAST_PAUSE)

    def abandoned(self) -> None:
        """Note that the dial ended without an answer: its client left, or its session broke."""
        if math.isinf(self.due):
            self.due = 0.0
