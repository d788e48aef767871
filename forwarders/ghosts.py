"""Tells data that was under way when a stream was reset from that of an application which sends on for ever.

A runtime that starts socat does not stop it at our RST_STREAM (wire/runtimes.py): the download goes on, for nobody.
"""

from __future__ import annotations

import math

import trio

from forwarders.wire.runtimes import PAIR_ENDS_WITHIN


class ResetStreams:
    """The streams of one session that we reset within the last PAIR_ENDS_WITHIN seconds."""

    def __init__(self) -> None:
        self._reset_at: dict[int, float] = {}  # in that order
        self._reading_since = -math.inf

    def add(self, stream_id: int) -> None:
        now = trio.current_time()
        self._reset_at[stream_id] = now
        while (oldest := next(iter(self._reset_at))) != stream_id and now - self._reset_at[oldest] > PAIR_ENDS_WITHIN:
            del self._reset_at[oldest]

    def read_again(self) -> None:
        """Nothing was read for a while: what comes now may be old."""
        self._reading_since = trio.current_time()

    def is_ghost(self, stream_id: int) -> bool:
        """Whether data that has just come for this stream was sent after the runtime should have ended it."""
        since = max(self._reset_at.get(stream_id, -math.inf), self._reading_since)
        return trio.current_time() - since > PAIR_ENDS_WITHIN
