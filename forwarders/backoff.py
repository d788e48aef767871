"""Computes and paces retries: growing pauses (`Backoff`), a rate limit shared by all callers (`RetryLimiter`).

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


class Backoff:
    """Seconds to wait, doubling from `first` to `last`; each is cut at random by up to half, to spread retries."""

    def __init__(self, random: Random, first: float, last: float) -> None:
        self._random = random
        self._first = first
        self._last = last
        self.failures = 0

    def next(self) -> float:
        """The wait after one more failure."""
        # 2**32 seconds are over a century: the exponent must end somewhere before floats do.
        longest = min(self._last, self._first * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return longest * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """A try succeeded."""
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
        """Returns after `pause` seconds, or later if other retries are due first; at once when released."""
        if await self.wait(pause):
            return
        at = max(trio.current_time(), self._next)
        self._next = at + self._interval
        await self._released_before(at)

    async def wait(self, seconds: float) -> bool:
        """Returns after `seconds` without a turn in the queue, at once when released; whether it was released.

        The first failure skips the queue, so a broken connection is retried immediately.
        """
        return await self._released_before(trio.current_time() + seconds)

    def release(self) -> None:
        """A caller succeeded: release all waiters, unless such successes did not last lately."""
        now = trio.current_time()
        if not self._waiting or now < self._rests_until:
            return
        soon = now < self._rests_until + self._rest
        self._rest = min(2 * self._rest, LAST_REST) if soon else FIRST_REST
        self._rests_until = now + self._rest
        self._next = 0.0
        self._released.fire()

    async def _released_before(self, deadline: float) -> bool:
        self._waiting += 1
        try:
            with trio.move_on_at(deadline):
                await self._released.wait()
                return True
            return False
        finally:
            self._waiting -= 1
