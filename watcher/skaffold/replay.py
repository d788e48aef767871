"""Owns the answer to: is the replay over that a stream begins with? By the times of its events: nothing marks its end.

Refuses to understand the events. A connection replays what was logged before it, at full speed, while live events come
in between (event/v2/event.go, forEach): so it is over once nothing older than the connection has come for a while.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

# Of an event of its own, not of one quoted in a log line, where the quotes are escaped.
_TIME = re.compile(rb'"timestamp":\s*"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z"')
_DIGITS = 9


class Replay:
    """`feed` it all that comes; `last_old`: when something older than `connected` came last, in the caller's clock."""

    def __init__(self, connected: datetime, now: float) -> None:
        self._connected = connected.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").encode() + b"000"
        self.last_old = now

    def feed(self, data: bytes | bytearray, now: float) -> None:
        """`data`: any piece of the stream. An event cut in two may be missed: in a replay others come with it."""
        if any(_sortable(match) < self._connected for match in _TIME.finditer(data)):
            self.last_old = now


def _sortable(match: re.Match[bytes]) -> bytes:
    return match[1] + b"." + (match[2] or b"").ljust(_DIGITS, b"0")
