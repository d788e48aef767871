"""SPDY streams: the table of their states, and the events that a connection reports.

SPDY draft 3.1, sections 2.3.6 (half-close) and 2.3.7 (close): an end that sent FIN sends no more data; a
reset ends both directions.
"""

from __future__ import annotations

from enum import IntEnum, auto

from msgspec import Struct

from forwarders.wire.headers import Headers


class StreamState(IntEnum):
    """The state of one stream, as this end sees it."""

    OPEN = auto()
    HALF_CLOSED_LOCAL = auto()
    HALF_CLOSED_REMOTE = auto()
    CLOSED = auto()


class StreamEvent(IntEnum):
    """What may happen to a stream: the input of the table of stream states."""

    SEND_DATA = auto()
    SEND_FIN = auto()
    RECEIVE_DATA = auto()
    RECEIVE_FIN = auto()
    RESET = auto()


_S, _E = StreamState, StreamEvent

# Combinations that are not in the table are not allowed.
TRANSITIONS: dict[tuple[StreamState, StreamEvent], StreamState] = {
    (_S.OPEN, _E.SEND_DATA): _S.OPEN,
    (_S.OPEN, _E.SEND_FIN): _S.HALF_CLOSED_LOCAL,
    (_S.OPEN, _E.RECEIVE_DATA): _S.OPEN,
    (_S.OPEN, _E.RECEIVE_FIN): _S.HALF_CLOSED_REMOTE,
    (_S.OPEN, _E.RESET): _S.CLOSED,
    (_S.HALF_CLOSED_LOCAL, _E.RECEIVE_DATA): _S.HALF_CLOSED_LOCAL,
    (_S.HALF_CLOSED_LOCAL, _E.RECEIVE_FIN): _S.CLOSED,
    (_S.HALF_CLOSED_LOCAL, _E.RESET): _S.CLOSED,
    (_S.HALF_CLOSED_REMOTE, _E.SEND_DATA): _S.HALF_CLOSED_REMOTE,
    (_S.HALF_CLOSED_REMOTE, _E.SEND_FIN): _S.CLOSED,
    (_S.HALF_CLOSED_REMOTE, _E.RESET): _S.CLOSED,
}


class StreamOpened(Struct, frozen=True):
    """The peer opened a stream; answer with a SYN_REPLY or with `reset`."""

    stream_id: int
    headers: Headers


class StreamAccepted(Struct, frozen=True):
    """The peer answered our SYN_STREAM."""

    stream_id: int


class DataReceived(Struct, frozen=True):
    stream_id: int
    data: bytes | memoryview


class StrayDataReceived(Struct, frozen=True):
    """Bytes for a stream that is closed here; they are dropped."""

    stream_id: int


class StreamEnded(Struct, frozen=True):
    """The peer's FIN: it sends no more data."""

    stream_id: int


class StreamReset(Struct, frozen=True):
    stream_id: int
    status: int


class PingReceived(Struct, frozen=True):
    """The peer's PING: send it back with `answer`."""

    ping_id: int


class PingAnswered(Struct, frozen=True):
    ping_id: int


class GoAwayReceived(Struct, frozen=True):
    last_stream_id: int


Event = (
    StreamOpened
    | StreamAccepted
    | DataReceived
    | StrayDataReceived
    | StreamEnded
    | StreamReset
    | PingReceived
    | PingAnswered
    | GoAwayReceived
)
