"""Owns the other end of an event stream in memory: a Skaffold as far as HTTP goes, driven by the test."""

from __future__ import annotations

import contextlib
import json
from functools import partial

import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_pair, memory_stream_pump

from watcher.skaffold.http_request import ApiAddress

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
TAKEN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
LAST_CHUNK = b"0\r\n\r\n"
Half = trio.StapledStream[MemorySendStream, MemoryReceiveStream]


def chunk(data: bytes) -> bytes:
    """RFC 9112, 7.1."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def posted(request: bytes) -> bytes:
    """The event of a POST as Skaffold tells of it; the time is Skaffold's, as here."""
    event = json.loads(request.partition(b"\r\n\r\n")[2])
    return json.dumps({"result": {"timestamp": "2026-11-23T23:04:13Z", **event}}).encode()


class Peer:
    """One connection that has asked for the stream. `request` is what was asked, `probes` what was posted before."""

    def __init__(self, stream: Half, far: MemoryReceiveStream, request: bytes, probes: list[bytes]) -> None:
        self.stream = stream
        self._far = far
        self.request = request
        self.probes = probes
        self._begun = False

    async def say(self, *lines: bytes) -> None:
        """The head with the first lines, as Skaffold does, then one chunk for each line."""
        self.put(*lines)
        await trio.lowlevel.checkpoint()

    def put(self, *lines: bytes) -> None:
        if not self._begun:
            self._begun = True
            self._far.put_data(HEAD)
        for line in lines:
            self._far.put_data(chunk(line + b"\n"))

    async def replay(self, *lines: bytes) -> None:
        """All that was logged before: at the end of it what was posted before."""
        await self.say(*lines, *self.probes)

    async def fin(self) -> float:
        """Waits for the reader's FIN and tells when it came, on trio's clock; anything else it sends is an error."""
        assert await self.stream.receive_some() == b""
        return trio.current_time()

    async def break_off(self) -> None:
        """The end of a Skaffold: the body ends without its last chunk."""
        await self.stream.aclose()


class Port:
    """A TCP port in memory: nobody listens until `open`; each connection that asks for the stream comes to `accept`.

    What is posted is taken, with `answer` ("" hangs up, None never answers), and comes back on the last stream at once
    where `echoes`.
    """

    def __init__(self, *, is_open: bool = False) -> None:
        self.is_open = is_open
        self.answer: bytes | None = TAKEN
        self.echoes = True
        self.attempts: list[float] = []
        self.posts: list[bytes] = []
        self.large = trio.Event()  # something was posted that fills a write quota of gRPC's
        self._last: Peer | None = None
        self._send, self._receive = trio.open_memory_channel[Peer](8)

    async def dial(self, address: ApiAddress) -> trio.abc.HalfCloseableStream:
        await trio.lowlevel.checkpoint()
        self.attempts.append(trio.current_time())
        if not self.is_open:
            raise ConnectionRefusedError
        ours, theirs = memory_stream_pair()
        ours.send_stream.send_all_hook = partial(self._asked, ours, theirs)
        return ours

    async def accept(self) -> Peer:
        return await self._receive.receive()

    def accept_nowait(self) -> Peer:
        return self._receive.receive_nowait()

    async def _asked(self, ours: Half, theirs: Half) -> None:
        request = bytes(ours.send_stream.get_data_nowait())
        if request.startswith(b"POST"):
            self._posted(request, ours)
            return
        ours.send_stream.send_all_hook = partial(_pump, ours, theirs)
        self._last = Peer(theirs, ours.receive_stream, request, self.posts)
        self.posts = []
        self._send.send_nowait(self._last)

    def _posted(self, request: bytes, ours: Half) -> None:
        if self.answer is None:
            return
        ours.receive_stream.put_data(self.answer)
        if self.answer == b"":
            ours.receive_stream.put_eof()
        if self.answer != TAKEN:
            return
        event = posted(request)
        self.posts.append(event)
        if len(event) > 1 << 16:
            self.large.set()
        if self._last is not None and self.echoes:
            with contextlib.suppress(trio.ClosedResourceError):
                self._last.put(event)


async def _pump(ours: Half, theirs: Half) -> None:
    memory_stream_pump(ours.send_stream, theirs.receive_stream)
