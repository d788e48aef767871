"""Owns the way to an API server up to a channel: name and TCP, the proxy, TLS, each with its deadline.

Refuses requests.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from forwarders.errors import ProxyError, TransportError, UnreachableError
from forwarders.transports import sockets
from forwarders.transports.channel import Channel, Lower, Nested, PlainChannel, secure
from forwarders.transports.proxy import Proxy, authority, connect_through
from forwarders.transports.server import ApiServer

# Seconds. A near server takes a millisecond for each; a lost SYN is sent again after 1 and 3 s, and a far server's
# handshake takes two round trips.
CONNECT_TIMEOUT, PROXY_TIMEOUT, TLS_TIMEOUT = 5.0, 5.0, 5.0
# All of it together, https proxies included: a server that needs longer is not usable.
DIAL_TIMEOUT = 10.0


async def dial(server: ApiServer) -> Channel:
    """A channel to the server. Raises UnreachableError."""
    with _deadline(DIAL_TIMEOUT, f"no connection to {_named(server)}"):
        return await _dialled(server)


async def _dialled(server: ApiServer) -> Channel:
    first = server.proxy or server
    with _deadline(CONNECT_TIMEOUT, f"no connection to {_named(first)}"):
        try:
            sock = await sockets.connect(first.host, first.port)
        except OSError as error:
            raise UnreachableError(f"cannot connect to {_named(first)}: {error}") from error
    lower: Lower = sock
    channel: Channel = PlainChannel(sock)
    if server.proxy is not None:
        channel = await _through(channel, sock, server.proxy, server)
        lower = Nested(channel)
    return channel if server.tls is None else await _secured(lower, server.tls, server.server_name)


async def _through(channel: Channel, sock: Lower, proxy: Proxy, server: ApiServer) -> Channel:
    if proxy.tls is not None:
        channel = await _secured(sock, proxy.tls, proxy.host)
    try:
        with _deadline(PROXY_TIMEOUT, f"the proxy {proxy} gave no connection to {server.host}:{server.port}"):
            await connect_through(channel, proxy, server.host, server.port)
    except TransportError:
        channel.close()
        raise
    except (OSError, trio.ClosedResourceError) as error:
        channel.close()
        raise ProxyError(f"the proxy {proxy} broke off: {error}") from error
    except BaseException:
        channel.close()
        raise
    return channel


async def _secured(lower: Lower, context: ssl.SSLContext, server_name: str) -> Channel:
    with _deadline(TLS_TIMEOUT, f"TLS with {server_name} was not done"):
        return await secure(lower, context, server_name)


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
