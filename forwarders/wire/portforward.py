"""The client side of Kubernetes port forwarding on one SPDY connection: each local connection is a pair of streams.

A pair is an error stream (half-closed by us at once) and a data stream with the same `requestid` (client-go
tools/portforward/portforward.go). Nothing waits for a SYN_REPLY: both SYN_STREAMs and the first data can leave in one
write. IO, time and retries are the session's.
"""

from __future__ import annotations

import math
import sys

from msgspec import Struct

from forwarders.wire import frames, streams
from forwarders.wire.connection import Connection
from forwarders.wire.workers import FRAME_WORKERS, WorkerCredit

# The runtime's texts are under 500 bytes; longer ones are cut.
MAX_ERROR_TEXT = 8 * 1024


class PairData(Struct, frozen=True):
    """Bytes from the pod's application; a view of the buffer given to `receive_data`."""

    pair: int
    data: bytes | memoryview


class PairEof(Struct, frozen=True):
    """The data stream ended. PairFinished, which follows at once in practice, tells whether it was a normal end."""

    pair: int


class PairFinished(Struct, frozen=True):
    """The pair is over. `error` is the runtime's text, "" after a normal end."""

    pair: int
    error: str


# Stray data is that of a pair that is over: it was under way when we reset the pair, or the application sends on.
PairEvent = PairData | PairEof | PairFinished | streams.StrayDataReceived | streams.GoAwayReceived


class _Pair(Struct):
    """The state of one open pair."""

    ident: int
    error_id: int
    data_id: int
    text: bytes = b""
    # The number of its first DATA frame, until a second one or an answer; None: nothing was sent or received.
    only_data: int | None = None
    data_ended: bool = False
    error_ended: bool = False


class PortForward:
    """The client's end. Sending methods queue bytes; `take` returns them for one write.

    `credit`: what the peer's workers are known to have consumed.
    """

    def __init__(self) -> None:
        self._connection = Connection("client")
        self.credit = WorkerCredit()
        self._pairs: dict[int, _Pair] = {}
        self._by_stream: dict[int, _Pair] = {}
        self._next_request = 0

    @property
    def pending(self) -> int:
        return self._connection.pending

    def take(self) -> bytes:
        return self._connection.take()

    # Sending

    def can_open(self) -> bool:
        """Whether a pair may be opened now: there are two neighbouring stream ids with idle workers."""
        return self._may_open(most_between=0)

    def can_open_apart(self) -> bool:
        """Whether a pair may be opened whose ids need not be neighbours: one idle worker is enough for both."""
        return self._may_open(most_between=FRAME_WORKERS)

    def _may_open(self, most_between: int) -> bool:
        first = self._connection.next_stream_id
        before, between = self.credit.skips_for(first) or (0, math.inf)
        has_ids = between <= most_between and first + 2 * (before + between) + 2 <= frames.MAX_STREAM_ID
        return has_ids and self.credit.can_probe()

    def open(self, port: int) -> int:
        """Queues both SYN_STREAMs for a connection to `port` in the pod; returns the pair's number.

        Ask `can_open` or `can_open_apart` first. Raises LocalProtocolError if no stream id is left.
        """
        before, between = self.credit.skips_for(self._connection.next_stream_id) or (0, 0)
        ident = self._next_request
        self._next_request += 1
        common = (("port", str(port)), ("requestid", str(ident)))
        self._connection.skip_stream_ids(before)
        error_id = self._connection.open_stream((("streamtype", "error"), *common), fin=True)
        self._connection.skip_stream_ids(between)
        data_id = self._connection.open_stream((("streamtype", "data"), *common))
        pair = _Pair(ident, error_id, data_id)
        for stream_id in (error_id, data_id):
            self._by_stream[stream_id] = pair
            self.credit.sent(stream_id, syn=True)
        self._pairs[ident] = pair
        self.credit.occupy(data_id)
        self._probe_if_due()
        return ident

    def can_send(self, ident: int) -> bool:
        """Whether the peer's worker has room for one more frame of this pair."""
        pair = self._pairs.get(ident)
        return pair is None or self.credit.available(pair.data_id)

    def send(self, ident: int, data: bytes | memoryview) -> bool:
        """Queues one DATA frame; False if the pair is over. `data` must not change until it is taken."""
        pair = self._pairs.get(ident)
        if pair is None or not self._connection.is_open(pair.data_id):
            return False
        self._connection.send_data(pair.data_id, data)
        number = self.credit.sent(pair.data_id)
        pair.only_data = number if pair.only_data is None else 0
        self._probe_if_due()
        return True

    def send_eof(self, ident: int) -> None:
        """Queues our FIN. The runtime cuts the answer off 1 s later, so callers delay it while they expect one."""
        pair = self._pairs.get(ident)
        if pair is not None and self._connection.is_open(pair.data_id):
            self._connection.send_data(pair.data_id, b"", fin=True)
            self.credit.sent(pair.data_id, may_block=False)

    def abort(self, ident: int) -> int | None:
        """Resets the pair's streams. Returns its data stream, for which stray data may come; None: it was over."""
        pair = self._pairs.get(ident)
        if pair is None:
            return None
        self._drop(pair)
        return pair.data_id

    def probe(self, count: int = FRAME_WORKERS) -> int:
        """Queues PINGs, one for each of the peer's workers; returns the last one, for `has_unanswered_ping`."""
        ping = 0
        for _ in range(count):
            ping = self._connection.ping()
            self.credit.sent_ping(ping)
        return ping

    def checkpoint(self, ident: int) -> int:
        """The last frame sent to this pair's worker, for `request_ack` and `is_acked`."""
        return self.credit.checkpoint(self._pairs[ident].data_id)

    def request_ack(self, ident: int, checkpoint: int) -> None:
        """Sends PINGs behind `checkpoint`, unless that was done already or a queue of the peer's is full."""
        if not self.credit.ack_requested(self._pairs[ident].data_id, checkpoint) and self.credit.can_probe():
            self.probe()

    def is_acked(self, ident: int, checkpoint: int) -> bool:
        """Whether the runtime is known to have taken everything up to `checkpoint`."""
        pair = self._pairs.get(ident)
        return pair is not None and self.credit.is_acked(pair.data_id, checkpoint)

    def _probe_if_due(self, *, idle: bool = False) -> None:
        """Sends PINGs if they are due. `idle`: also to find idle workers, because a connection is over."""
        due = self.credit.pings_due()
        if idle and not due:
            due = self.credit.pings_for_idle_workers()
        self.probe(due)

    # Receiving

    @property
    def more(self) -> bool:
        """Whether received frames are left because of `most`: call receive_data(b"") for the next ones."""
        return self._connection.more

    def receive_data(self, data: bytes, most: int = sys.maxsize) -> list[PairEvent]:
        """Decodes bytes into the events of at most `most` frames. Raises RemoteProtocolError: the session is over."""
        out: list[PairEvent] = []
        for event in self._connection.receive_data(data, most):
            self._receive(event, out)
        return out

    def _receive(self, event: streams.Event, out: list[PairEvent]) -> None:
        match event:
            case streams.DataReceived(stream_id, data):
                self._receive_bytes(stream_id, data, out)
            case streams.StreamEnded(stream_id):
                self._stream_over(stream_id, out)
            case streams.StreamReset(stream_id, _):
                self._stream_over(stream_id, out, reset=True)
            case streams.StreamAccepted(stream_id):
                self.credit.accepted(stream_id)
            case streams.PingAnswered(ping_id):
                self.credit.answered(ping_id)
                # The frames sent after that PING may use up a worker's credit; without this no PING would follow.
                self._probe_if_due(idle=True)
            case streams.PingReceived(ping_id):
                self._connection.answer(ping_id)
            case streams.StreamOpened(stream_id, _) if self._connection.is_open(stream_id):
                self._connection.refuse(stream_id)
            case streams.StrayDataReceived() | streams.GoAwayReceived():
                out.append(event)

    def _receive_bytes(self, stream_id: int, data: bytes | memoryview, out: list[PairEvent]) -> None:
        pair = self._by_stream.get(stream_id)
        if pair is None:
            return
        if stream_id == pair.data_id:
            if pair.only_data:
                self.credit.taken(stream_id, pair.only_data)
            pair.only_data = 0
            out.append(PairData(pair.ident, data))
        else:
            pair.text = (pair.text + data)[:MAX_ERROR_TEXT]

    def _stream_over(self, stream_id: int, out: list[PairEvent], *, reset: bool = False) -> None:
        pair = self._by_stream.get(stream_id)
        if pair is None:
            return
        if stream_id == pair.data_id:
            pair.data_ended = True
            out.append(PairEof(pair.ident))
        else:
            pair.error_ended = True
        data_reset = reset and stream_id == pair.data_id
        if data_reset or (pair.error_ended and (pair.text or pair.data_ended)):
            text = pair.text.decode("utf-8", "replace")
            out.append(PairFinished(pair.ident, text or ("the data stream was reset" if data_reset else "")))
            self._drop(pair)

    def _drop(self, pair: _Pair) -> None:
        del self._pairs[pair.ident]
        self.credit.release(pair.data_id)
        for stream_id in (pair.error_id, pair.data_id):
            del self._by_stream[stream_id]
            self.credit.forget(stream_id)
        if self._connection.is_open(pair.data_id):
            if pair.data_ended:
                self._connection.send_data(pair.data_id, b"", fin=True)
            else:
                self._connection.reset(pair.data_id)
            self.credit.sent(pair.data_id, may_block=False)
        if self._connection.is_open(pair.error_id):
            self._connection.reset(pair.error_id)
            self.credit.sent(pair.error_id, may_block=False)
        self._probe_if_due(idle=True)
