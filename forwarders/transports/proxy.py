"""Makes a connection through a proxy: by CONNECT (RFC 9110, 9.3.6) or SOCKS5, with a password where the URL has one.

The caller chooses the proxy. Used by tunnels on a Channel, and by lists and watches on a stream of httpcore's.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from forwarders.errors import BrokenOffError, ProxyError
from forwarders.transports.http import Bytes, ask
from forwarders.transports.socks import connect_by_socks


@dataclass(frozen=True)
class Proxy:
    """`tls`: of an https proxy. `authorization`: the header for it, "" for none. `source`: who named the proxy.

    `socks`: it speaks SOCKS5, and `login` is user and password there.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    authorization: str = field(default="", repr=False)
    source: str = "proxy"
    socks: bool = False
    login: tuple[str, str] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{authority(self.host, self.port)} ({self.source})"


def authority(host: str, port: int) -> str:
    """host:port as it stands in a URL; an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def connect_through(stream: Bytes, proxy: Proxy, host: str, port: int) -> None:
    """From here on the stream is connected to host:port. Raises ProxyError, and what the stream raises."""
    target = authority(host, port)

    def failed(why: str) -> ProxyError:
        return ProxyError(f"the proxy {proxy} did not connect to {target}: {why}")

    if proxy.socks:
        rest = await connect_by_socks(stream, host, port, proxy.login, failed)
    else:
        rest = await _connect_by_http(stream, proxy, target)
    if rest:
        raise ProxyError(f"the proxy {proxy} sent bytes of its own where {target} was to answer")


async def _connect_by_http(stream: Bytes, proxy: Proxy, target: str) -> bytes:
    """What came behind the answer."""
    headers = [("Host", target), ("User-Agent", "portside")]
    if proxy.authorization:
        headers.append(("Proxy-Authorization", proxy.authorization))
    try:
        answer = await ask(stream, "CONNECT", target, headers)
    except BrokenOffError as error:
        raise ProxyError(f"the proxy {proxy} did not connect to {target}: {error}") from error
    if not answer.switched:
        hint = ": its URL needs user:password@ before the host" if answer.status == 407 else ""
        raise ProxyError(f"the proxy {proxy} refused to connect to {target}: HTTP {answer.status}{hint}")
    return answer.rest
