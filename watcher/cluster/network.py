"""Owns the network below httpx: connections to the API server, kept alive, through its proxy where it has one.

Refuses HTTP. httpx's own proxy support would check the certificate for the server's address in place of
tls-server-name, and send plain-http requests unwrapped; a tunnel and a list are to go the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import httpcore
import httpx
import trio

from forwarders.errors import ProxyError
from forwarders.transports.proxy import Proxy, connect_through
from forwarders.transports.server import ApiServer
from forwarders.transports.sockets import api_server_options
from watcher.cluster.eager import RacingBackend

# Each watch holds a connection: 8 kinds in 60 namespaces. Others wait for one, and say so after the connect time-out.
MAX_CONNECTIONS = 512
# Longer-lived idle connections save little: a list has its watch follow at once.
MAX_IDLE = 8
READ_SIZE = 64 * 1024


def transport(server: ApiServer) -> httpx.AsyncHTTPTransport:
    """httpx's way to one API server."""
    context = server.tls or True
    limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_IDLE)
    # A watch is silent for minutes: a network that dies without a word is the kernel's to notice.
    options = api_server_options()
    made = httpx.AsyncHTTPTransport(verify=context, limits=limits, socket_options=options, trust_env=False)
    # httpx has no argument for httpcore's network backend.
    made._pool = httpcore.AsyncConnectionPool(
        ssl_context=server.tls,
        max_connections=limits.max_connections,
        max_keepalive_connections=limits.max_keepalive_connections,
        keepalive_expiry=limits.keepalive_expiry,
        network_backend=RacingBackend() if server.proxy is None else ProxyBackend(server.proxy),
        socket_options=options,
    )
    return made


class ProxyBackend(httpcore.AsyncNetworkBackend):
    """Every connection is one to the proxy that it has made a tunnel of."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._network = RacingBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """`timeout` counts for all of it. Raises httpcore.ConnectError, ConnectTimeout, ProxyError."""
        try:
            with trio.fail_after(timeout if timeout is not None else float("inf")):
                return await self._tunnel(host, port, local_address, socket_options)
        except trio.TooSlowError as error:
            raise httpcore.ConnectTimeout(f"the proxy {self._proxy} gave no connection in time") from error

    async def _tunnel(
        self, host: str, port: int, local_address: str | None, socket_options: Iterable[Any] | None
    ) -> httpcore.AsyncNetworkStream:
        proxy = self._proxy
        stream = await self._network.connect_tcp(
            proxy.host, proxy.port, local_address=local_address, socket_options=socket_options
        )
        try:
            if proxy.tls is not None:
                stream = await stream.start_tls(proxy.tls, proxy.host)
            await connect_through(_HttpcoreStream(stream), proxy, host, port)
        except ProxyError as error:
            await stream.aclose()
            raise httpcore.ProxyError(str(error)) from error
        except BaseException:
            await _closed(stream)
            raise
        return stream

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)


async def _closed(stream: httpcore.AsyncNetworkStream) -> None:
    """At once, also where this task is cancelled."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.aclose()


class _HttpcoreStream:
    """httpcore's stream as CONNECT wants it; deadlines are the caller's."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def receive(self) -> bytes:
        return await self._stream.read(READ_SIZE)

    async def send(self, data: bytes) -> None:
        await self._stream.write(data)
