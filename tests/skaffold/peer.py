"""Owns the other end of an event stream in memory: a Skaffold as far as HTTP goes, driven by the test."""

from __future__ import annotations

import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_pair

from watcher.skaffold.address import ApiAddress

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
Half = trio.StapledStream[MemorySendStream, MemoryReceiveStream]


def chunk(data: bytes) -> bytes:
    """RFC 9112, 7.1."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


class Peer:
    """One accepted connection. `request` is what the reader asked; `gone_at` when its FIN came, on trio's clock."""

    def __init__(self, stream: Half) -> None:
        self.stream = stream
        self.request = b""

    async def accept(self) -> None:
        while b"\r\n\r\n" not in self.request:
            self.request += await self.stream.receive_some()

    async def say(self, *lines: bytes) -> None:
        """The head with the first lines, as Skaffold does, then one chunk for each line."""
        if not self.request:
            await self.accept()
            await self.stream.send_all(HEAD)
        for line in lines:
            await self.stream.send_all(chunk(line + b"\n"))

    async def fin(self) -> float:
        """Waits for the reader's FIN and tells when it came; anything else the reader sends is an error."""
        assert await self.stream.receive_some() == b""
        return trio.current_time()

    async def break_off(self) -> None:
        """The end of a Skaffold: the body ends without its last chunk."""
        await self.stream.aclose()


class Port:
    """A TCP port in memory: nobody listens until `open`; each dialled connection comes to `accept`."""

    def __init__(self) -> None:
        self.is_open = False
        self.attempts: list[float] = []
        self._send, self._receive = trio.open_memory_channel[Peer](8)

    async def dial(self, address: ApiAddress) -> trio.abc.HalfCloseableStream:
        await trio.lowlevel.checkpoint()
        self.attempts.append(trio.current_time())
        if not self.is_open:
            raise ConnectionRefusedError
        ours, theirs = memory_stream_pair()
        self._send.send_nowait(Peer(theirs))
        return ours

    async def accept(self) -> Peer:
        return await self._receive.receive()
