"""Paces the redials of one port in a pod that refuses connections.

One connection at a time dials it. The pause between two dials grows with the time for which the port has refused.
"""

from __future__ import annotations

import math

import trio

from forwarders.dial_reasons import dial_reason
from forwarders.spec import Endpoint
from forwarders.tunnel import DialError

# Seconds between a refusal and the next dial: a quarter of the time since the first refusal, within these bounds.
# So a port that listens after a moment is found within a quarter of that moment, and one that never does is dialled
# four times a second at most.
FIRST_PAUSE, LAST_PAUSE, SHARE = 0.025, 0.25, 0.25


class Redials:
    """The refusals of one endpoint since it last took a connection."""

    def __init__(self, endpoint: Endpoint, error: DialError) -> None:
        self._endpoint = endpoint
        self._since = trio.current_time()
        self._due = 0.0
        self._dialling = False
        self.refused(error)

    def refused(self, error: DialError) -> None:
        """The runtime could not connect once more."""
        now = trio.current_time()
        self._dialling = False
        self._due = now + min(max(SHARE * (now - self._since), FIRST_PAUSE), LAST_PAUSE)
        self.reason = dial_reason(self._endpoint, error)
        self.sandbox_gone = error.sandbox_gone

    @property
    def due(self) -> float:
        """When the endpoint may be dialled again; infinite while a dial is under way."""
        return math.inf if self._dialling else self._due

    def begin(self) -> None:
        self._dialling = True

    def abandon(self) -> None:
        """The dial ended without an answer, because its client left or its session broke."""
        self._dialling = False
