"""A network in memory below `connecting.connect_tcp`: names and ports that lead to handlers, on trio's own clock.

Owns no rule of ours: a handler plays an API server or a proxy, plainly or over TLS.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import h11
import pytest
import trio
from trio.testing import memory_stream_pair

from fixtures.embedded import certificates
from forwarders.spec import PodRef
from forwarders.transports import connecting
from forwarders.transports.api_server import ApiServer, Headers
from forwarders.transports.proxy import Proxy

POD = PodRef("shop", "web-1", "uid-1")
CERTIFICATES = certificates.make("admin")

Handler = Callable[[trio.abc.Stream], Awaitable[None]]


class MemorySocket:
    """What `connecting.connect_tcp` gives, over a memory stream. Hands out as little as asked, as a socket may."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.closed = False

    async def receive_into(self, buffer: memoryview) -> int:
        try:
            data = await self._stream.receive_some(len(buffer))
        except trio.BrokenResourceError as error:
            raise ConnectionResetError("reset") from error
        buffer[: len(data)] = data
        return len(data)

    async def send(self, data: bytes | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as error:
            raise BrokenPipeError("broken pipe") from error

    def send_now(self, data: bytes | memoryview) -> int:
        """As a socket without room."""
        return 0

    def close(self) -> None:
        self.closed = True
        trio.lowlevel.spawn_system_task(trio.aclose_forcefully, self._stream)


class Net:
    """`handlers` by host and port; `connected` in order. What is not there refuses; None never answers."""

    def __init__(self, nursery: trio.Nursery, patch: pytest.MonkeyPatch) -> None:
        self._nursery = nursery
        self.handlers: dict[tuple[str, int], Handler | None] = {}
        self.connected: list[tuple[str, int]] = []
        self.sockets: list[MemorySocket] = []
        patch.setattr(connecting, "connect_tcp", self.connect)

    async def connect(self, host: str, port: int) -> MemorySocket:
        await trio.lowlevel.checkpoint()
        self.connected.append((host, port))
        if (host, port) not in self.handlers:
            raise ConnectionRefusedError(f"{host} refused")
        handler = self.handlers[host, port]
        if handler is None:
            await trio.sleep_forever()
            raise AssertionError
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._serve, handler, theirs)
        self.sockets.append(MemorySocket(ours))
        return self.sockets[-1]

    async def _serve(self, handler: Handler, stream: trio.abc.Stream) -> None:
        try:
            await handler(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    @property
    def left_open(self) -> int:
        """Sockets that nobody has closed."""
        return sum(not sock.closed for sock in self.sockets)


def over_tls(handler: Handler) -> Handler:
    """The same handler behind TLS, as localhost."""

    async def serve(stream: trio.abc.Stream) -> None:
        context = certificates.server_context(CERTIFICATES)
        await handler(trio.SSLStream(stream, context, server_side=True, https_compatible=True))

    return serve


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=CERTIFICATES.authority.decode())


def saying(*lines: str, body: bytes = b"", end: bool = True) -> Handler:
    """Reads a request's head and answers with this one."""

    async def serve(stream: trio.abc.Stream) -> None:
        await head(stream)
        await stream.send_all("\r\n".join([*lines, "", ""]).encode() + body)
        if end:
            await stream.aclose()
        else:
            await trio.sleep_forever()

    return serve


async def head(stream: trio.abc.Stream) -> h11.Request:
    """The request that comes first."""
    http = h11.Connection(h11.SERVER)
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(bytes(await stream.receive_some(65536)))
    assert isinstance(event, h11.Request)
    return event


async def no_headers(renew: bool) -> Headers:  # noqa: FBT001 - ApiServer's signature
    return []


def server(*, tls: ssl.SSLContext | None = None, proxy: Proxy | None = None) -> ApiServer:
    return ApiServer("api.test", 6443, "", tls, "localhost" if tls else "api.test", no_headers, proxy)
