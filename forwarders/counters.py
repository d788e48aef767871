"""Owns what one forward has carried so far: integers that its connections add to, read from outside when somebody asks.

Refuses to tell anybody: nothing on the way of the bytes waits for a reader, or knows that there is one.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct


class Counts(Struct, frozen=True, kw_only=True):
    """A forward's counters at one moment. Bytes are the connections' own, without framing.

    `since`: when the forward began. `connections`: open now, those that are `held` included; `held`: waiting for a pod.
    `sent`, `received`: bytes to and from pods. `errors`: connections cut or given up; `last_error`, `last_error_at`:
    the newest of them.
    """

    since: datetime
    connections: int = 0
    connections_total: int = 0
    held: int = 0
    sent: int = 0
    received: int = 0
    errors: int = 0
    last_error: str = ""
    last_error_at: datetime | None = None


class Counters:
    """One forward's, for its life: the fields of `Counts`, added to."""

    def __init__(self) -> None:
        self.since = datetime.now(UTC)
        self.connections = 0
        self.connections_total = 0
        self.held = 0
        self.sent = 0
        self.received = 0
        self.errors = 0
        self.last_error = ""
        self.last_error_at: datetime | None = None

    def opened(self) -> None:
        self.connections += 1
        self.connections_total += 1

    def closed(self) -> None:
        self.connections -= 1

    def failed(self, error: str) -> None:
        self.errors += 1
        self.last_error, self.last_error_at = error, datetime.now(UTC)

    def counts(self) -> Counts:
        """As they are now."""
        return Counts(**vars(self))
