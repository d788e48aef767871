"""Computes how long to wait before the next retry. It does not wait itself."""

from __future__ import annotations

from random import Random


class Backoff:
    """Seconds, doubling from `first` to `last`; each is shortened at random by up to half, to spread retries."""

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
        """It worked."""
        self.failures = 0
