"""Owns the events of a SPDY connection, one small frozen value each. Refuses behaviour."""

from __future__ import annotations

from msgspec import Struct

from forwarders.wire.headers import Headers


class StreamOpened(Struct, frozen=True):
    """The peer opened a stream (server role); answer with `reply` or `reset`."""

    stream_id: int
    headers: Headers


class StreamAccepted(Struct, frozen=True):
    """The peer answered our SYN_STREAM."""

    stream_id: int


class DataReceived(Struct, frozen=True):
    stream_id: int
    data: bytes | memoryview


class StrayDataReceived(Struct, frozen=True):
    """Bytes for a stream that is gone here; they are dropped."""

    stream_id: int


class StreamEnded(Struct, frozen=True):
    """The peer's FIN: no more data from there."""

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
