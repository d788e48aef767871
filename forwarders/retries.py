"""Decides when a pool may try again to open a session: after a pause that grows with each failure.

How many pools may try at once is the shared gate's business.
"""

from __future__ import annotations

import math
from random import Random

import trio

from forwarders.backoff import Backoff, RetryLimiter

# An API server that is back, or rights that were given, are to be used within a second. What that costs where it stays
# away: two tries for each pod at once, then one every 0.6 s, all pods (and watches) together one each gates.TURN.
FIRST_BACKOFF, LAST_BACKOFF = 0.05, 0.6
# The same where sessions are opened but end at once, so that asking often is of no use: up to this long.
LAST_USELESS = 2.0
# A session that carried nothing and that the peer ended (a GOAWAY counts) sooner than this was of no use.
STEADY = 10.0
# After so long without a failure the next one counts as the first.
CALM = STEADY + LAST_USELESS


class Retries:
    """One pool's pace. Failures while a pause is due count as one: sessions die together when a server restarts."""

    def __init__(self, random: Random, gate: RetryLimiter) -> None:
        self._gate = gate
        self._unopened = Backoff(random, FIRST_BACKOFF, LAST_BACKOFF)
        self._useless = Backoff(random, FIRST_BACKOFF, LAST_USELESS)
        self._pause = 0.0
        self._failed_at = -math.inf

    @property
    def due(self) -> bool:
        """Whether `wait` comes before the next try."""
        return self._pause > 0

    def unopened(self) -> None:
        """A session could not be opened."""
        self._failed(self._unopened)

    def useless(self) -> None:
        """A session was opened, and ended before it was of any use."""
        self._failed(self._useless)

    async def wait(self) -> None:
        """Until it is this pool's turn; the first failure does not queue behind the others'."""
        first = self._unopened.failures + self._useless.failures == 1
        await (self._gate.wait if first else self._gate.wait_turn)(self._pause)
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
