"""Rate-limits retries at one server, shared by all callers; one success releases every waiter.

An API server that is away is away for every watch and every pod: many callers need not ask often for one of them to
find out soon. A success that does not last (a session that ends with a polite GOAWAY, a watch that is cut at once) must
not turn that into a flood, so releases are rare when they repeat.
"""

from __future__ import annotations

import math

import trio

from forwarders.signals import Signal

# Seconds between two retries at the API server, for all its watches and pods together.
TURN = 0.1
# Seconds without another release after one. A release that follows soon after such a rest doubles the rest: sixty
# waiters that are released by a server in which nothing lasts cost it sixty requests, so once a minute is enough.
FIRST_REST, LAST_REST = 1.0, 60.0


class Gate:
    """At most one retry each `interval` seconds, by all callers together, beside those after a first failure."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = 0.0
        self._opened = Signal()
        self._waiting = 0
        self._rest = FIRST_REST
        self._rests_until = -math.inf

    async def turn(self, pause: float) -> None:
        """Returns `pause` seconds from now, or later where others' retries come first; at once when it is released."""
        if await self.pause(pause):
            return
        at = max(trio.current_time(), self._next)
        self._next = at + self._interval
        await self._opens_before(at)

    async def pause(self, seconds: float) -> bool:
        """Returns after so many seconds, out of turn; at once when it is released: whether it was.

        The first failure skips the queue, so a broken connection is retried immediately.
        """
        return await self._opens_before(trio.current_time() + seconds)

    def open(self) -> None:
        """A caller got through: release everybody who waits, unless successes like this one did not last."""
        now = trio.current_time()
        if not self._waiting or now < self._rests_until:
            return
        soon = now < self._rests_until + self._rest
        self._rest = min(2 * self._rest, LAST_REST) if soon else FIRST_REST
        self._rests_until = now + self._rest
        self._next = 0.0
        self._opened.fire()

    async def _opens_before(self, deadline: float) -> bool:
        self._waiting += 1
        try:
            with trio.move_on_at(deadline):
                await self._opened.wait()
                return True
            return False
        finally:
            self._waiting -= 1
