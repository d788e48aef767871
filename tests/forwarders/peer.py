"""The runtime's end of a session in memory: the wire's server role, five workers as spdystream has, pods' applications.

It is a peer, not a mock: whatever it does goes through the same frames as a real one's. DATA that an application does
not read stays in its worker, and a PING behind it is answered only afterwards.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable
from functools import partial

import trio

from fixtures.spdy_peer import SpdyPeer
from forwarders.tasks import Notifier
from forwarders.wire import frames, streams
from forwarders.wire.workers import FRAME_WORKERS, worker_of
from tests.forwarders.peer_channel import PeerChannel

# Bytes on their way to the client before an application's send waits: a socket's buffers.
IN_FLIGHT = 256 * 1024
REFUSED = "failed to connect to localhost:80 inside namespace: dial tcp4 127.0.0.1:80: connect: connection refused"


class Peer:
    """`channel()` is what a Session talks to; `accept` waits for the next connection to the pod."""

    def __init__(self) -> None:
        self.wire = SpdyPeer("server")
        self.answering = True
        self.stuck: set[int] = set()
        self.reading = True
        self.closed = False
        self.pings = 0
        self.sent_by_client = 0
        self.payloads: list[bytes] = []  # in the order in which they came
        self.thrown_away = 0  # payloads for connections that were refused or are over
        self._queues: list[deque[Callable[[], bool]]] = [deque() for _ in range(FRAME_WORKERS)]
        self._round = 0
        self._opening: dict[str, int] = {}
        self._error_streams: set[int] = set()
        self.streams: dict[int, PeerStream] = {}
        self._accepted_in, self._accepted_out = trio.open_memory_channel[PeerStream](10_000)
        self.to_client = bytearray()
        self.failure: OSError | None = None
        self.changed = Notifier()

    def channel(self) -> PeerChannel:
        return PeerChannel(self)

    async def accept(self) -> PeerStream:
        """The next connection that a client opened."""
        return await self._accepted_out.receive()

    # How it can end

    def close(self) -> None:
        """The API server closes the connection: EOF."""
        self.closed = True
        self.changed.fire()

    def fail(self, error: OSError) -> None:
        """The network breaks the connection."""
        self.failure = error
        self.changed.fire()

    # What came from the client

    def receive(self, data: bytes) -> None:
        self.sent_by_client += len(data)
        for event in self.wire.receive_data(data):
            match event:
                case streams.PingReceived(ping):
                    self.pings += 1
                    self._queues[self._round].append(partial(self._answer, ping))
                    self._round = (self._round + 1) % FRAME_WORKERS
                case streams.StreamOpened(stream, headers):
                    if ("streamtype", "error") in headers:
                        self._error_streams.add(stream)
                    self._put(stream, partial(self._open, stream, dict(headers)))
                case streams.DataReceived(stream, payload):
                    self.payloads.append(bytes(payload))
                    self._put(stream, partial(self._data, stream, bytes(payload)))
                case streams.StreamEnded(stream) if stream not in self._error_streams:  # whose FIN blocks no worker
                    self._put(stream, partial(self._data, stream, b""))
                case streams.StreamReset(stream, _):
                    self._put(stream, partial(self._reset, stream))
                case _:
                    pass
        self.work()

    def _put(self, stream: int, item: Callable[[], bool]) -> None:
        self._queues[worker_of(stream)].append(item)

    def work(self) -> None:
        """Each worker goes on until it holds data that its application has no room for."""
        went_on = True
        while went_on:  # a stream that one worker opens may be the one that another has data for
            went_on = False
            for worker, queue in enumerate(self._queues):
                while queue and self.answering and worker not in self.stuck and queue[0]():
                    queue.popleft()
                    went_on = True
        self.flush()

    def _answer(self, ping: int) -> bool:
        self.wire.answer(ping)
        return True

    def _open(self, stream: int, headers: dict[str, str]) -> bool:
        if self.wire.is_open(stream):
            self.wire.reply(stream)
        other = self._opening.pop(headers["requestid"], None)
        if other is None:
            self._opening[headers["requestid"]] = stream
        else:
            error, data = (other, stream) if headers["streamtype"] == "data" else (stream, other)
            opened = self.streams[data] = PeerStream(self, error, data, int(headers["port"]))
            self._accepted_in.send_nowait(opened)
        return True

    def _data(self, stream: int, payload: bytes) -> bool:
        target = self.streams.get(stream)
        if stream in self._opening.values():
            return False  # its partner is still in another worker's queue
        if target is None:
            self.thrown_away += bool(payload)
            return True
        return target.take(payload)

    def _reset(self, stream: int) -> bool:
        target = self.streams.pop(stream, None)
        if target is not None:
            target.was_reset = True
            self.changed.fire()
        return True

    def flush(self) -> None:
        self.to_client += self.wire.take()
        self.changed.fire()


class PeerStream(trio.abc.HalfCloseableStream):
    """One connection as the application in the pod has it; `refuse` and `reset` are the runtime's ways to end it."""

    def __init__(self, peer: Peer, error: int, data: int, port: int) -> None:
        self._peer, self.error, self.data, self.port = peer, error, data, port
        self._held: bytes | None = None
        self._ended = self._eof_sent = self._closed = False
        self._busy_in = self._busy_out = False
        self.was_reset = False

    def take(self, payload: bytes) -> bool:
        """From the worker: False while the last payload is unread. b"" is the client's FIN."""
        if self._closed:
            return True
        if self._held:
            return False
        if payload:
            self._held = payload
        else:
            self._ended = True
        self._peer.changed.fire()
        return True

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        await trio.lowlevel.checkpoint()
        if self._busy_in:
            raise trio.BusyResourceError
        self._busy_in = True
        try:
            while not self._held:
                if self._closed:
                    raise trio.ClosedResourceError
                if self._ended:
                    return b""
                if self.was_reset or self._peer.closed:
                    raise trio.BrokenResourceError
                await self._peer.changed.wait()
        finally:
            self._busy_in = False
        size = len(self._held) if max_bytes is None else max_bytes
        data, self._held = self._held[:size], self._held[size:]
        self._peer.work()
        return data

    async def receive_all(self) -> bytes:
        """Until the client's FIN."""
        data = b""
        while more := await self.receive_some():
            data += more
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._room()
        for start in range(0, len(data), 32 * 1024):
            await self._room()
            self._peer.wire.send_data(self.data, bytes(data[start : start + 32 * 1024]))
            self._peer.flush()

    def send_at_once(self, data: bytes) -> None:
        """Without waiting for room: all of it reaches the client in one moment."""
        for start in range(0, len(data), 32 * 1024):
            self._peer.wire.send_data(self.data, data[start : start + 32 * 1024])
        self._peer.flush()

    async def wait_send_all_might_not_block(self) -> None:
        await self._room()

    async def _room(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._busy_out:
            raise trio.BusyResourceError
        self._busy_out = True
        try:
            while True:
                if self._closed or self._eof_sent:
                    raise trio.ClosedResourceError
                if self._peer.closed or not self._peer.wire.is_open(self.data):
                    raise trio.BrokenResourceError
                if len(self._peer.to_client) < IN_FLIGHT:
                    return
                await self._peer.changed.wait()
        finally:
            self._busy_out = False

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._busy_out:
            raise trio.BusyResourceError
        if self._closed:
            raise trio.ClosedResourceError
        self.end_data()

    def end_data(self) -> None:
        """FIN on the data stream alone."""
        if not self._eof_sent:
            self._eof_sent = True
            if self._peer.wire.is_open(self.data):
                self._peer.wire.send_data(self.data, b"", fin=True)
            self._peer.flush()

    async def aclose(self) -> None:
        """The good end: FIN on both streams."""
        if not self._closed:
            self.end_data()
            if self._peer.wire.is_open(self.error):
                self._peer.wire.send_data(self.error, b"", fin=True)
            self._over()
        await trio.lowlevel.checkpoint()

    def refuse(self, text: str = REFUSED) -> None:
        """The runtime could not dial, or the application reset: error text, then RST_STREAM on the error stream."""
        self._peer.thrown_away += bool(self._held)
        if self._peer.wire.is_open(self.error):  # else the client has reset it meanwhile
            self._peer.wire.send_data(self.error, text.encode())
            self._peer.wire.reset(self.error)
        self._over()

    def reset(self) -> None:
        """RST_STREAM on the data stream."""
        self._peer.wire.reset(self.data, frames.CANCEL)
        self._over()

    def _over(self) -> None:
        self._closed = True
        self._held = None
        self._peer.streams.pop(self.data, None)
        self._peer.work()
