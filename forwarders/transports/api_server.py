"""How to reach one API server: its address, TLS, proxy and credentials, and the dial that makes a channel to it.

The kubeconfig is read by the caller.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import quote

import trio
from msgspec import Struct, field

from forwarders.backoff import TURN, RetryLimiter
from forwarders.errors import ProxyError, UnreachableError
from forwarders.spec import PodRef, authority
from forwarders.transports import connecting
from forwarders.transports.http import UpgradeRequest
from forwarders.transports.proxy import Proxy, connect_through
from forwarders.transports.sockets import Channel, Piece, SocketChannel, TransportStream, start_tls

Headers = list[tuple[str, str]]

# Seconds. A near server takes a millisecond for each; a lost SYN is sent again after 1 and 3 s, and a far server's
# handshake takes two round trips.
CONNECT_TIMEOUT, PROXY_TIMEOUT, TLS_TIMEOUT = 5.0, 5.0, 5.0
# All of it together, https proxies included: a server that needs longer is not usable.
DIAL_TIMEOUT = 10.0


class ApiServer(Struct, frozen=True):
    """One Kubernetes API server.

    `prefix`: path before /api ("" or e.g. "/k8s/clusters/c-1"), without a trailing slash.
    `tls`: None for plain http (kubectl proxy). `server_name`: the name that the certificate must have.
    `authorize(renew)`: headers that authenticate a request (none with client certificates); `renew=True` after a 401.
    It raises TransportError and nothing else. `proxy`: connect through it.
    """

    host: str
    port: int
    prefix: str
    tls: ssl.SSLContext | None
    server_name: str
    authorize: Callable[[bool], Awaitable[Headers]]
    proxy: Proxy | None = None

    @property
    def url(self) -> str:
        """The base URL, for httpx and for messages."""
        return f"{'http' if self.tls is None else 'https'}://{authority(self.host, self.port)}{self.prefix}"

    async def authorize_after(self, refused: Headers) -> Headers:
        """After a 401: other headers than the refused ones if another task has renewed them, else new ones."""
        now = await self.authorize(False)  # noqa: FBT003 - its only argument
        return now if now != refused else await self.authorize(True)  # noqa: FBT003

    def portforward_request(self, pod: PodRef, credentials: Headers) -> UpgradeRequest:
        """The part of an upgrade request that both transports share."""
        return UpgradeRequest(
            pod=pod,
            target=f"{self.prefix}/api/v1/namespaces/{quote(pod.namespace)}/pods/{quote(pod.name)}/portforward",
            headers=[("Host", authority(self.host, self.port)), ("User-Agent", "portside"), *credentials],
        )


async def _never(pod: PodRef, address: str) -> bool:  # noqa: ARG001 - the type's signature
    return False


class ClusterRoute(Struct, frozen=True):
    """What forwards need of their pods' cluster. `open_channel` opens a session to a pod.

    `limiter`: the pace of all tries at the cluster's API server. `on_silence` is called if that server seems to be
    away. `confirm` asks the API server whether an address is that pod's, `shown` the watch, without waiting.
    """

    open_channel: Callable[[PodRef], Awaitable[tuple[Channel, bytes]]]
    limiter: RetryLimiter = field(default_factory=partial(RetryLimiter, TURN))
    on_silence: Callable[[], None] = lambda: None
    confirm: Callable[[PodRef, str], Awaitable[bool]] = _never
    shown: Callable[[PodRef, str], bool] = lambda pod, address: True


class TunnelledSocket:
    """Makes a channel look like a socket, for TLS inside the TLS of an https proxy."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._left = b""
        self.send, self.close = channel.send, channel.close

    async def receive_into(self, buffer: memoryview) -> int:
        """Receives as a RawSocket does: returns 0 at the end, no checkpoint after the read."""
        data = self._left or await self._channel.receive()
        taken, self._left = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def send_now(self, data: Piece) -> int:  # noqa: ARG002 - the protocol's signature
        """Takes nothing, so that everything goes through `send`: two layers of TLS are too rare for a fast path."""
        return 0


async def dial(server: ApiServer) -> Channel:
    """Connect to the server, through its proxy and with TLS if it has them. Raises UnreachableError."""
    with _deadline(DIAL_TIMEOUT, f"no connection to {_named(server)}"):
        first = server.proxy or server
        with _deadline(CONNECT_TIMEOUT, f"no connection to {_named(first)}"):
            try:
                sock = await connecting.connect_tcp(first.host, first.port)
            except OSError as error:
                raise UnreachableError(f"cannot connect to {_named(first)}: {error}") from error
        stream: TransportStream = sock
        channel: Channel = SocketChannel(sock)
        if server.proxy is not None:
            channel = await _connect_through_proxy(channel, sock, server.proxy, server)
            stream = TunnelledSocket(channel)
        return channel if server.tls is None else await _secured(stream, server.tls, server.server_name)


async def _connect_through_proxy(channel: Channel, sock: TransportStream, proxy: Proxy, server: ApiServer) -> Channel:
    if proxy.tls is not None:
        channel = await _secured(sock, proxy.tls, proxy.host)
    try:
        with _deadline(PROXY_TIMEOUT, f"the proxy {proxy} gave no connection to {server.host}:{server.port}"):
            await connect_through(channel, proxy, server.host, server.port)
    except BaseException as error:
        channel.close()
        if isinstance(error, OSError | trio.ClosedResourceError):
            raise ProxyError(f"the proxy {proxy} broke off: {error}") from error
        raise
    return channel


async def _secured(stream: TransportStream, context: ssl.SSLContext, server_name: str) -> Channel:
    with _deadline(TLS_TIMEOUT, f"TLS with {server_name} was not done"):
        return await start_tls(stream, context, server_name)


def _named(server: ApiServer | Proxy) -> str:
    return (
        f"the proxy {server}" if isinstance(server, Proxy) else f"the API server {authority(server.host, server.port)}"
    )


@contextmanager
def _deadline(seconds: float, problem: str) -> Iterator[None]:
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError as error:
        raise UnreachableError(f"{problem} within {seconds:.0f} s") from error
