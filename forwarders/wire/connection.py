"""One SPDY/3.1 connection without its socket: feed it the received bytes, send the bytes that `take` returns.

It keeps frames and header blocks in order and streams to their state table. It plays either role, so that tests can
talk to it through its other end. What streams are for is decided elsewhere (`portforward`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Literal

from forwarders.errors import LocalProtocolError, RemoteProtocolError
from forwarders.wire import frames
from forwarders.wire.headers import HeaderCompressor, HeaderDecompressor, Headers
from forwarders.wire.streams import (
    TRANSITIONS,
    DataReceived,
    Event,
    GoAwayReceived,
    PingAnswered,
    PingReceived,
    StrayDataReceived,
    StreamAccepted,
    StreamEnded,
    StreamEvent,
    StreamOpened,
    StreamReset,
    StreamState,
)

# Streams that a peer may have open at once; port forwarding needs two for each connection.
MAX_STREAMS = 20_000
# Answers to PINGs and refusals of streams that wait to be taken: a peer that makes us write and does not read must not
# fill our memory. The runtime sends neither.
MAX_ANSWERS = 1024


class Connection:
    """`receive_data` raises RemoteProtocolError; the sending methods raise LocalProtocolError on misuse."""

    def __init__(self, role: Literal["client", "server"]) -> None:
        self._odd = role == "client"
        self._next_stream_id = 1 if self._odd else 2
        self._next_ping_id = 1 if self._odd else 2
        self._last_peer_stream_id = 0
        self._states: dict[int, StreamState] = {}
        self._compressor = HeaderCompressor()
        self._decompressor = HeaderDecompressor()
        self._decoder = frames.FrameDecoder()
        self._out: list[bytes | memoryview] = []
        self._out_size = 0
        self._answers = 0  # since the last `take`

    # Bytes to send

    @property
    def pending(self) -> int:
        """The number of bytes that `take` would return."""
        return self._out_size

    def take(self) -> bytes:
        """Takes all bytes to send, joined in order."""
        joined = b"".join(self._out)
        self._out.clear()
        self._out_size = 0
        self._answers = 0
        return joined

    def _put(self, piece: bytes | memoryview) -> None:
        self._out.append(piece)
        self._out_size += len(piece)

    # Sending

    @property
    def next_stream_id(self) -> int:
        return self._next_stream_id

    def skip_stream_ids(self, count: int) -> None:
        """Leaves ids unused: they only have to rise (draft 3.1, section 2.3.2)."""
        self._next_stream_id += 2 * count

    def open_stream(self, headers: Headers, *, fin: bool = False) -> int:
        stream_id = self._next_stream_id
        if stream_id > frames.MAX_STREAM_ID:
            raise LocalProtocolError("all stream ids of this connection are used up")
        self._next_stream_id += 2
        self._states[stream_id] = StreamState.HALF_CLOSED_LOCAL if fin else StreamState.OPEN
        self._put(frames.encode(frames.SynStream(stream_id, self._compressor.compress(headers), fin)))
        return stream_id

    def send_data(self, stream_id: int, data: bytes | memoryview, *, fin: bool = False) -> None:
        """Queues one DATA frame. `data` must not change until it is taken."""
        self._step(stream_id, StreamEvent.SEND_DATA)
        if fin:
            self._step(stream_id, StreamEvent.SEND_FIN)
        self._put(frames.data_head(stream_id, len(data), fin=fin))
        if data:
            self._put(data)

    def reset(self, stream_id: int, status: int = frames.CANCEL) -> None:
        self._step(stream_id, StreamEvent.RESET)
        self._put(frames.encode(frames.RstStream(stream_id, status)))

    def ping(self) -> int:
        ping_id = self._next_ping_id
        self._next_ping_id = ping_id + 2 if ping_id + 2 < 2**32 else ping_id % 2 or 2
        self._put(frames.encode(frames.Ping(ping_id)))
        return ping_id

    def answer(self, ping_id: int) -> None:
        """Sends the peer's PING back. Raises RemoteProtocolError if too many answers wait to be taken."""
        self._put(frames.encode(frames.Ping(ping_id)))
        self._count_answer()

    def refuse(self, stream_id: int) -> None:
        """Resets a stream that the peer opened. Raises RemoteProtocolError if too many answers wait to be taken."""
        self.reset(stream_id, frames.REFUSED_STREAM)
        self._count_answer()

    def _count_answer(self) -> None:
        self._answers += 1
        if self._answers > MAX_ANSWERS:
            raise RemoteProtocolError(f"the peer does not read, and requests more than {MAX_ANSWERS} answers")

    def is_open(self, stream_id: int) -> bool:
        return stream_id in self._states

    def _step(self, stream_id: int, event: StreamEvent) -> None:
        state = self._states.get(stream_id, StreamState.CLOSED)
        after = TRANSITIONS.get((state, event))
        if after is None:
            problem = f"{event.name} on stream {stream_id}, which is {state.name}"
            raise LocalProtocolError(f"stream {stream_id} is not open" if state is StreamState.CLOSED else problem)
        self._move(stream_id, after)

    def _move(self, stream_id: int, state: StreamState) -> None:
        if state is StreamState.CLOSED:
            del self._states[stream_id]
        else:
            self._states[stream_id] = state

    # Receiving

    @property
    def more(self) -> bool:
        """Whether received frames are left because of `most`: call receive_data(b"") for the next ones."""
        return self._decoder.more

    def receive_data(self, data: bytes, most: int = sys.maxsize) -> list[Event]:
        """Decodes received bytes; returns the events of at most `most` frames."""
        events: list[Event] = []
        for frame in self._decoder.feed(data, most):
            handler = _HANDLERS.get(type(frame))
            if handler is not None:
                handler(self, frame, events)
        return events

    def _receive_payload(self, frame: frames.Data, events: list[Event]) -> None:
        if not self._receives(frame.stream_id):
            self._check_known(frame.stream_id)
            if frame.payload and frame.stream_id not in self._states:
                events.append(StrayDataReceived(frame.stream_id))
            return
        if frame.payload:
            events.append(DataReceived(frame.stream_id, frame.payload))
        if frame.fin:
            self._receive_fin(frame.stream_id, events)

    def _check_known(self, stream_id: int) -> None:
        ours = bool(stream_id % 2) == self._odd
        if stream_id >= self._next_stream_id if ours else stream_id > self._last_peer_stream_id:
            raise RemoteProtocolError(f"DATA for stream {stream_id}, which was never opened")

    def _receives(self, stream_id: int) -> bool:
        state = self._states.get(stream_id)
        return state is not None and (state, StreamEvent.RECEIVE_DATA) in TRANSITIONS

    def _receive_fin(self, stream_id: int, events: list[Event]) -> None:
        self._move(stream_id, TRANSITIONS[self._states[stream_id], StreamEvent.RECEIVE_FIN])
        events.append(StreamEnded(stream_id))

    def _on_syn_stream(self, frame: frames.SynStream, events: list[Event]) -> None:
        headers = self._decompressor.decompress(frame.block)
        stream_id = frame.stream_id
        if bool(stream_id % 2) == self._odd or stream_id <= self._last_peer_stream_id:
            raise RemoteProtocolError(f"SYN_STREAM with id {stream_id} after {self._last_peer_stream_id}")
        if len(self._states) >= MAX_STREAMS:
            raise RemoteProtocolError(f"more than {MAX_STREAMS} streams open at once")
        self._last_peer_stream_id = stream_id
        self._states[stream_id] = StreamState.OPEN
        events.append(StreamOpened(stream_id, headers))
        if frame.fin:
            self._receive_fin(stream_id, events)

    def _on_reply(self, frame: frames.SynReply | frames.HeadersFrame, events: list[Event]) -> None:
        self._decompressor.decompress(frame.block)
        if type(frame) is frames.SynReply:
            events.append(StreamAccepted(frame.stream_id))
        if frame.fin and self._receives(frame.stream_id):
            self._receive_fin(frame.stream_id, events)

    def _on_reset(self, frame: frames.RstStream, events: list[Event]) -> None:
        if self._states.pop(frame.stream_id, None) is not None:
            events.append(StreamReset(frame.stream_id, frame.status))

    def _on_ping(self, frame: frames.Ping, events: list[Event]) -> None:
        ours = bool(frame.ping_id % 2) == self._odd
        events.append(PingAnswered(frame.ping_id) if ours else PingReceived(frame.ping_id))

    def _on_go_away(self, frame: frames.GoAway, events: list[Event]) -> None:
        events.append(GoAwayReceived(frame.last_stream_id))


_HANDLERS: dict[type, Callable[..., None]] = {
    frames.Data: Connection._receive_payload,
    frames.SynStream: Connection._on_syn_stream,
    frames.SynReply: Connection._on_reply,
    frames.HeadersFrame: Connection._on_reply,
    frames.RstStream: Connection._on_reset,
    frames.Ping: Connection._on_ping,
    frames.GoAway: Connection._on_go_away,
}
