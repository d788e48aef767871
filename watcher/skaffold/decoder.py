"""Owns the way from bytes of /v2/events to typed events: newline-delimited JSON, cut anywhere, never fatal.

Refuses IO, and refuses to keep a line that is too long or is no JSON: it is counted and passed over.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from watcher.skaffold.events import (
    Body,
    DebuggingContainerEvent,
    Event,
    Instant,
    MetaEvent,
    PortEvent,
    StatusCheckEvent,
    StreamError,
    TaskEvent,
)

# Only log lines grow large (gRPC lets a message be 4 MB, JSON escapes it up to six times) and those are not wanted; a
# metaEvent with a thousand artifacts stays below 200 kB.
MAX_LINE = 1 << 20


class _Result(Struct, frozen=True, rename="camel"):
    """Skaffold emits unset messages as null. Keys not named here, the log events among them, are skipped unread."""

    timestamp: Instant | None = None
    meta_event: MetaEvent | None = None
    task_event: TaskEvent | None = None
    port_event: PortEvent | None = None
    status_check_subtask_event: StatusCheckEvent | None = None
    debugging_container_event: DebuggingContainerEvent | None = None

    @property
    def body(self) -> Body | None:
        return (
            self.task_event
            or self.port_event
            or self.meta_event
            or self.status_check_subtask_event
            or self.debugging_container_event
        )


class _Line(Struct, frozen=True):
    """grpc-gateway's wrapper of one message of a server stream (runtime/handler.go, ForwardResponseStream)."""

    result: _Result | None = None
    error: StreamError | None = None


_decoder = msgspec.json.Decoder(_Line)


class EventDecoder:
    """Bytes in, events out. `garbage` counts the lines passed over because they were no event's JSON or too long."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self.garbage = 0
        self._max_line = max_line
        self._tail = bytearray()
        self._overlong = False  # the line whose end is awaited has lost its beginning

    def feed(self, data: bytes) -> list[Event]:
        """The events whose lines end in `data`, in order. Raises nothing, whatever the bytes are."""
        *whole, rest = data.split(b"\n")
        events = [event for part in whole if (event := self._line(part))]
        self._keep(rest)
        return events

    def _keep(self, part: bytes) -> None:
        if len(self._tail) + len(part) > self._max_line:
            self._overlong = True
            self._tail.clear()
        elif not self._overlong:
            self._tail += part

    def _line(self, part: bytes) -> Event | None:
        self._keep(part)
        line, overlong = bytes(self._tail), self._overlong
        self._tail.clear()
        self._overlong = False
        if overlong:
            self.garbage += 1
            return None
        return self._event(line) if line.strip() else None

    def _event(self, line: bytes) -> Event | None:
        try:
            decoded = _decoder.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):  # the last: brackets nested without end
            self.garbage += 1
            return None
        if decoded.error is not None:
            return Event(None, decoded.error)
        if decoded.result is None or (body := decoded.result.body) is None:
            return None
        return Event(decoded.result.timestamp, body)
