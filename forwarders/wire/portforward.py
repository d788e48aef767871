"""The client side of Kubernetes port forwarding on one SPDY connection: each local connection is a pair of streams.

A pair is an error stream (half-closed by us at once) and a data stream with the same `requestid` (client-go
tools/portforward/portforward.go). Nothing waits for a SYN_REPLY: both SYN_STREAMs and the first data can leave in one
write. IO, time and retries are the session's.
"""

from __future__ import annotations

import sys

from msgspec import Struct

from forwarders.wire import frames, streams
from forwarders.wire.connection import Connection
from forwarders.wire.workers import FRAME_WORKERS, WorkerCredit, worker_of

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


class _Pair:
    """The state of one open pair."""

    __slots__ = ("data_ended", "data_id", "error_ended", "error_id", "ident", "text")

    def __init__(self, ident: int, error_id: int, data_id: int) -> None:
        self.ident = ident
        self.error_id = error_id
        self.data_id = data_id
        self.text = b""
        self.data_ended = False
        self.error_ended = False


class PortForward:
    """The client's end. Sending methods queue bytes; `take` returns them for one write."""

    def __init__(self) -> None:
        self._connection = Connection("client")
        self._credit = WorkerCredit()
        self._pairs: dict[int, _Pair] = {}
        self._by_stream: dict[int, _Pair] = {}
        # Per worker: the pairs whose data goes through it.
        self._pairs_on = [0] * FRAME_WORKERS
        self._next_request = 0

    @property
    def pending(self) -> int:
        return self._connection.pending

    def take(self) -> bytes:
        return self._connection.take()

    # Sending

    def can_open(self) -> bool:
        """Whether a pair may be opened now: there are two neighbouring stream ids with idle workers."""
        return self._ids_to_skip() is not None

    def _ids_to_skip(self) -> int | None:
        """How many stream ids to skip so that the data stream gets an idle worker to itself; None: none fits."""
        idle = self._credit.idle()
        first = self._connection.next_stream_id
        for error_id in range(first, first + 2 * FRAME_WORKERS, 2):
            worker = worker_of(error_id + 2)
            if idle[worker] and not self._pairs_on[worker] and idle[worker_of(error_id)]:
                return (error_id - first) // 2 if error_id + 2 <= frames.MAX_STREAM_ID else None
        return None

    def open(self, port: int) -> int:
        """Queues both SYN_STREAMs for a connection to `port` in the pod; returns the pair's number.

        Ask `can_open` first, which checks the credit. Raises LocalProtocolError if no stream id is left.
        """
        for _ in range(self._ids_to_skip() or 0):
            self._connection.skip_stream_id()
        ident = self._next_request
        self._next_request += 1
        common = (("port", str(port)), ("requestid", str(ident)))
        error_id = self._connection.open_stream((("streamtype", "error"), *common), fin=True)
        data_id = self._connection.open_stream((("streamtype", "data"), *common))
        pair = _Pair(ident, error_id, data_id)
        for stream_id in (error_id, data_id):
            self._by_stream[stream_id] = pair
            self._credit.sent(stream_id, syn=True)
        self._pairs[ident] = pair
        self._pairs_on[worker_of(data_id)] += 1
        self._probe_if_due()
        return ident

    def can_send(self, ident: int) -> bool:
        """Whether the peer's worker has room for one more frame of this pair."""
        pair = self._pairs.get(ident)
        return pair is None or self._credit.available(pair.data_id)

    def send(self, ident: int, data: bytes | memoryview) -> bool:
        """Queues one DATA frame; False if the pair is over. `data` must not change until it is taken."""
        pair = self._pairs.get(ident)
        if pair is None or not self._connection.is_open(pair.data_id):
            return False
        self._connection.send_data(pair.data_id, data)
        self._credit.sent(pair.data_id)
        self._probe_if_due()
        return True

    def send_eof(self, ident: int) -> None:
        """Queues our FIN. The runtime cuts the answer off 1 s later, so callers delay it while they expect one."""
        pair = self._pairs.get(ident)
        if pair is not None and self._connection.is_open(pair.data_id):
            self._connection.send_data(pair.data_id, b"", fin=True)
            self._credit.sent(pair.data_id, may_block=False)

    def abort(self, ident: int) -> int | None:
        """Resets the pair's streams. Returns its data stream, for which stray data may come; None: it was over."""
        pair = self._pairs.get(ident)
        if pair is None:
            return None
        self._drop(pair)
        return pair.data_id

    def can_probe(self) -> bool:
        """Whether a round of PINGs fits into the peer's queues; not while an application blocks its worker for long."""
        return self._credit.can_probe()

    def probe(self) -> int:
        """Queues one PING for each of the peer's workers; returns the last one, for `has_unanswered_ping`."""
        return self._ping(FRAME_WORKERS)

    def _ping(self, count: int) -> int:
        ping = 0
        for _ in range(count):
            ping = self._connection.ping()
            self._credit.sent_ping(ping)
        return ping

    def has_unanswered_ping(self, ping: int) -> bool:
        """Whether a PING up to `ping` has no answer, and not because an application does not read."""
        return self._credit.has_unanswered_ping(ping)

    @property
    def fully_acked(self) -> bool:
        """Whether the runtime is known to have taken everything that was sent."""
        return self._credit.fully_acked

    def checkpoint(self, ident: int) -> int:
        """The last frame sent to this pair's worker, for `request_ack` and `is_acked`."""
        return self._credit.checkpoint(self._pairs[ident].data_id)

    def request_ack(self, ident: int, checkpoint: int) -> None:
        """Sends PINGs behind `checkpoint`, unless that was done already or a queue of the peer's is full."""
        if not self._credit.ack_requested(self._pairs[ident].data_id, checkpoint) and self.can_probe():
            self.probe()

    def is_acked(self, ident: int, checkpoint: int) -> bool:
        """Whether the runtime is known to have taken everything up to `checkpoint`."""
        pair = self._pairs.get(ident)
        return pair is not None and self._credit.is_acked(pair.data_id, checkpoint)

    def _probe_if_due(self, *, idle: bool = False) -> None:
        """`idle`: also look for idle workers, since a connection is over and another one may need its worker."""
        due = self._credit.pings_due()
        if idle and not due:
            due = self._credit.pings_for_idle_workers(self._pairs_on)
        self._ping(due)

    # Receiving

    @property
    def more(self) -> bool:
        """Whether received frames are left because of `most`: call receive_data(b"") for the next ones."""
        return self._connection.more

    def receive_data(self, data: bytes, most: int = sys.maxsize) -> list[PairEvent]:
        """The events of at most `most` frames. Raises RemoteProtocolError; the session is then over."""
        out: list[PairEvent] = []
        for event in self._connection.receive_data(data, most):
            self._receive(event, out)
        return out

    def _receive(self, event: streams.Event, out: list[PairEvent]) -> None:
        match event:
            case streams.DataReceived(stream_id, data):
                self._receive_bytes(self._by_stream.get(stream_id), stream_id, data, out)
            case streams.StreamEnded(stream_id):
                self._stream_over(stream_id, out)
            case streams.StreamReset(stream_id, _):
                self._stream_over(stream_id, out, reset=True)
            case streams.StreamAccepted(stream_id):
                self._credit.accepted(stream_id)
            case streams.PingAnswered(ping_id):
                self._credit.answered(ping_id)
                # The frames sent after that PING may use up a worker's credit; without this no PING would follow.
                self._probe_if_due(idle=True)
            case streams.PingReceived(ping_id):
                self._connection.answer(ping_id)
            case streams.StreamOpened(stream_id, _) if self._connection.is_open(stream_id):
                self._connection.refuse(stream_id)
            case streams.StrayDataReceived() | streams.GoAwayReceived():
                out.append(event)

    def _receive_bytes(
        self, pair: _Pair | None, stream_id: int, data: bytes | memoryview, out: list[PairEvent]
    ) -> None:
        if pair is None:
            return
        if stream_id == pair.data_id:
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
        self._pairs_on[worker_of(pair.data_id)] -= 1
        for stream_id in (pair.error_id, pair.data_id):
            del self._by_stream[stream_id]
            self._credit.forget(stream_id)
        if self._connection.is_open(pair.data_id):
            if pair.data_ended:
                self._connection.send_data(pair.data_id, b"", fin=True)
            else:
                self._connection.reset(pair.data_id)
            self._credit.sent(pair.data_id, may_block=False)
        if self._connection.is_open(pair.error_id):
            self._connection.reset(pair.error_id)
            self._credit.sent(pair.error_id, may_block=False)
        self._probe_if_due(idle=True)
