"""SPDY/3.1 frames: their values, their encoding, and an incremental decoder.

Header blocks stay compressed here (`headers`); `connection` has the stream states. Layout: SPDY protocol draft 3.1,
section 2.2. The peer in practice is `moby/spdystream`.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from forwarders.errors import LocalProtocolError, RemoteProtocolError

VERSION = 3
FLAG_FIN = 0x01
MAX_STREAM_ID = 2**31 - 1
MAX_DATA_LENGTH = 2**24 - 1
# A control frame is buffered until it is complete. Port forwarding's largest is a SYN_STREAM of about 120 bytes.
MAX_CONTROL_LENGTH = 64 * 1024

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9

# RST_STREAM status codes, draft 3.1 section 2.6.3
PROTOCOL_ERROR, REFUSED_STREAM, CANCEL = 1, 3, 5

_CONTROL = struct.Struct(">HHI")
_ONE, _TWO = struct.Struct(">I"), struct.Struct(">II")
_SYN = struct.Struct(">IIBB")
_HEAD = 8


class SynStream(Struct, frozen=True):
    stream_id: int
    block: bytes
    fin: bool = False
    priority: int = 0


class SynReply(Struct, frozen=True):
    stream_id: int
    block: bytes
    fin: bool = False


class RstStream(Struct, frozen=True):
    stream_id: int
    status: int


class Ping(Struct, frozen=True):
    ping_id: int


class GoAway(Struct, frozen=True):
    last_stream_id: int
    status: int = 0


class HeadersFrame(Struct, frozen=True):
    stream_id: int
    block: bytes
    fin: bool = False


class Data(Struct, frozen=True):
    """Payload of a stream; one frame may become several of these, as its bytes arrive. Only the last one has `fin`."""

    stream_id: int
    payload: bytes | memoryview
    fin: bool = False


class Ignored(Struct, frozen=True):
    """SETTINGS, WINDOW_UPDATE and unknown control frames; spdystream ignores them too."""

    type: int


Frame = SynStream | SynReply | RstStream | Ping | GoAway | HeadersFrame | Data | Ignored


# How each control frame is encoded.
_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    SynStream: lambda f: _control(SYN_STREAM, _SYN.pack(f.stream_id, 0, f.priority << 5, 0) + f.block, fin=f.fin),
    SynReply: lambda f: _control(SYN_REPLY, _ONE.pack(f.stream_id) + f.block, fin=f.fin),
    HeadersFrame: lambda f: _control(HEADERS, _ONE.pack(f.stream_id) + f.block, fin=f.fin),
    RstStream: lambda f: _control(RST_STREAM, _TWO.pack(f.stream_id, f.status)),
    Ping: lambda f: _control(PING, _ONE.pack(f.ping_id)),
    GoAway: lambda f: _control(GOAWAY, _TWO.pack(f.last_stream_id, f.status)),
}


def encode(frame: Frame) -> bytes:
    """Encodes one control frame. Raises LocalProtocolError for Data (see `data_head`) and Ignored."""
    encoder = _ENCODERS.get(type(frame))
    if encoder is None:
        raise LocalProtocolError(f"{type(frame).__name__} is not sent as a control frame")
    return encoder(frame)


def _control(kind: int, body: bytes, *, fin: bool = False) -> bytes:
    return _CONTROL.pack(0x8000 | VERSION, kind, (FLAG_FIN << 24 if fin else 0) | len(body)) + body


def data_head(stream_id: int, length: int, *, fin: bool) -> bytes:
    """The 8 bytes before a DATA frame's payload, so that the payload itself need not be copied."""
    if length > MAX_DATA_LENGTH:
        raise LocalProtocolError(f"a DATA frame carries at most {MAX_DATA_LENGTH} bytes, not {length}")
    return _TWO.pack(stream_id, (FLAG_FIN << 24 if fin else 0) | length)


class FrameDecoder:
    """Bytes in, frames out. DATA payloads are returned as they arrive, as views of the caller's buffer.

    `feed` raises RemoteProtocolError at the first malformed frame; the decoder cannot be used afterwards. It returns
    at most `most` frames; while there is `more`, feed b"" for the next ones.
    """

    def __init__(self) -> None:
        # An incomplete head or control frame (at most 8 + MAX_CONTROL_LENGTH bytes), or the bytes that `most` left.
        self._kept = b""
        self.more = False
        self._stream_id = 0
        self._left = 0  # payload bytes of the current DATA frame that have not arrived yet
        self._fin = False

    def feed(self, data: bytes, most: int = sys.maxsize) -> list[Frame]:
        if self._kept:
            data = self._kept + data
            self._kept = b""
        view = memoryview(data)
        frames: list[Frame] = []
        position, end = 0, len(data)
        self.more = False
        while position < end:
            if len(frames) >= most:
                self.more = True
                break
            if self._left:
                taken = min(self._left, end - position)
                self._left -= taken
                frames.append(Data(self._stream_id, view[position : position + taken], self._fin and not self._left))
                position += taken
                continue
            if end - position < _HEAD:
                break
            first, second = _TWO.unpack_from(data, position)
            if not first >> 31:
                position += _HEAD
                self._begin_data(first, second, frames)
                continue
            length = second & 0xFFFFFF
            _check_control(first, length)
            if end - position < _HEAD + length:
                break
            body = data[position + _HEAD : position + _HEAD + length]
            frames.append(_decode_control(first & 0xFFFF, second >> 24, body))
            position += _HEAD + length
        self._kept = bytes(view[position:])
        return frames

    def _begin_data(self, stream_id: int, second: int, frames: list[Frame]) -> None:
        self._stream_id = stream_id
        self._left = second & 0xFFFFFF
        self._fin = bool((second >> 24) & FLAG_FIN)
        if not stream_id:
            raise RemoteProtocolError("DATA for stream 0")
        if not self._left:
            frames.append(Data(stream_id, b"", self._fin))


def _check_control(first: int, length: int) -> None:
    version = (first >> 16) & 0x7FFF
    if version != VERSION:
        raise RemoteProtocolError(f"a control frame of SPDY version {version}, not {VERSION}")
    if length > MAX_CONTROL_LENGTH:
        raise RemoteProtocolError(f"a control frame of {length} bytes; at most {MAX_CONTROL_LENGTH} are allowed")


# Per type: the smallest length (before a header block, or in total), and how the body becomes a frame.
_CONTROLS: dict[int, tuple[int, Callable[[int, bytes, bool], Frame]]] = {
    SYN_STREAM: (10, lambda stream_id, body, fin: SynStream(stream_id, body[10:], fin, body[8] >> 5)),
    SYN_REPLY: (4, lambda stream_id, body, fin: SynReply(stream_id, body[4:], fin)),
    HEADERS: (4, lambda stream_id, body, fin: HeadersFrame(stream_id, body[4:], fin)),
    RST_STREAM: (8, lambda stream_id, body, fin: RstStream(stream_id, _TWO.unpack_from(body)[1])),
    PING: (4, lambda stream_id, body, fin: Ping(*_ONE.unpack_from(body))),
    GOAWAY: (8, lambda stream_id, body, fin: GoAway(stream_id, _TWO.unpack_from(body)[1])),
}


def _decode_control(kind: int, flags: int, body: bytes) -> Frame:
    if kind not in _CONTROLS:
        return Ignored(kind)
    needed, decode = _CONTROLS[kind]
    if len(body) < needed:
        raise RemoteProtocolError(
            f"a control frame of type {kind} with {len(body)} bytes, at least {needed} are needed"
        )
    stream_id: int = _ONE.unpack_from(body)[0] & MAX_STREAM_ID
    if not stream_id and kind not in {PING, GOAWAY}:
        raise RemoteProtocolError(f"a control frame of type {kind} for stream 0")
    return decode(stream_id, body, bool(flags & FLAG_FIN))
