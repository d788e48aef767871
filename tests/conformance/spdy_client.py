"""A raw SPDY client of the tests: the upgrade by our transports, frames by forwarders.wire, what each stream saw, when.

Knows nothing of pairs: a test opens the streams it wants, in the order it wants.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import trio

from fixtures.spdy_peer import SpdyPeer
from forwarders.spec import PodRef
from forwarders.transports.api_server import ApiServer
from forwarders.transports.opener import Transport, open_by
from forwarders.transports.sockets import Channel
from forwarders.wire import streams
from tests.conformance.subjects import POD, Subject

# Until the slowest thing that is waited for here: the answer of the late port, 2 s, and the runtime's 1 s.
PATIENCE = 60.0
GET = b"GET / HTTP/1.0\r\n\r\n"


@dataclass
class Seen:
    """What came on one stream. Times are trio's; None: not yet."""

    accepted: float | None = None
    first_data: float | None = None
    ended: float | None = None
    reset: int | None = None
    data: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        return self.data.decode()

    @property
    def over(self) -> bool:
        """Ended or reset."""
        return self.ended is not None or self.reset is not None


class SpdyClient:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.spdy = SpdyPeer("client")
        self.streams: defaultdict[int, Seen] = defaultdict(Seen)
        self.pongs: list[int] = []
        self.received = 0  # bytes, of any frame
        self.closed: float | None = None
        self.leaving = False  # the server said GOAWAY
        self._news = trio.Event()
        self._requests = 0

    def open(self, port: int | str, request: str = "") -> tuple[int, int]:
        """Queue an error and a data stream; `flush` sends them."""
        self._requests += 1
        common = (("port", str(port)), ("requestid", request or str(self._requests)))
        error = self.spdy.open_stream((("streamtype", "error"), *common), fin=True)
        return error, self.spdy.open_stream((("streamtype", "data"), *common))

    async def exchange(self, port: int, data: bytes = b"", *, fin: bool = False) -> tuple[Seen, Seen]:
        """Open, send `data`, all in one write; returns what the error and the data stream see."""
        error, stream = self.open(port)
        if data or fin:
            self.spdy.send_data(stream, data, fin=fin)
        await self.flush()
        return self.streams[error], self.streams[stream]

    async def flush(self) -> None:
        await self._channel.send(self.spdy.take())

    async def until(self, holds: Callable[[], object], patience: float = PATIENCE) -> None:
        """Wait until something that came makes `holds` true. Raises trio.TooSlowError."""
        with trio.fail_after(patience):
            while not holds():
                await self._news.wait()

    async def pings(self, count: int, answered: int) -> list[int]:
        """Send PINGs; which (from 0) were answered once that many are."""
        sent = [self.spdy.ping() for _ in range(count)]
        await self.flush()
        await self.until(lambda: len(set(sent) & set(self.pongs)) >= answered)
        return [index for index, ping in enumerate(sent) if ping in self.pongs]

    async def run(self, first: bytes) -> None:
        data = first
        while True:
            self.received += len(data)
            for event in self.spdy.receive_data(data):
                self._see(event, trio.current_time())
            self._tell()
            try:
                data = await self._channel.receive()
            except (OSError, trio.ClosedResourceError):
                data = b""
            if not data:
                self.closed = trio.current_time()
                self._tell()
                return

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def _see(self, event: streams.Event, now: float) -> None:
        match event:
            case streams.StreamAccepted(stream_id):
                self.streams[stream_id].accepted = now
            case streams.DataReceived(stream_id, data):
                seen = self.streams[stream_id]
                seen.data += data
                seen.first_data = seen.first_data or now
            case streams.StrayDataReceived():
                pass  # for a stream that the client has reset
            case streams.StreamEnded(stream_id):
                self.streams[stream_id].ended = now
            case streams.StreamReset(stream_id, status):
                self.streams[stream_id].reset = status
            case streams.GoAwayReceived():
                self.leaving = True
            case streams.PingAnswered(ping_id):
                self.pongs.append(ping_id)
            case _:
                raise AssertionError(f"the server sent {event}")


@dataclass(frozen=True)
class Line:
    """The way to a cluster's pods: its API server as seen from here, and the transport."""

    subject: Subject
    server: ApiServer
    transport: Transport

    @classmethod
    def direct(cls, subject: Subject) -> Line:
        """By SPDY, with nothing between."""
        return cls(subject, subject.server.api(), Transport.SPDY)


@contextlib.asynccontextmanager
async def session(line: Line, pod: str = POD) -> AsyncIterator[SpdyClient]:
    """A SPDY session to a pod, as the admin."""
    reference = PodRef(line.subject.namespace, pod, "")
    channel, first = await open_by(line.transport, line.server, reference)
    try:
        client = SpdyClient(channel)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run, first)
            yield client
            nursery.cancel_scope.cancel()
    finally:
        channel.close()
