"""Connects through a proxy: by CONNECT (RFC 9110, 9.3.6) or SOCKS5 (RFC 1928), with a password if the URL has one.

The caller chooses the proxy. Tunnels use this on a Channel, lists and watches on a stream of httpcore's. A SOCKS proxy
resolves the name, for socks5 and socks5h alike, as in Go's net/http.
"""

from __future__ import annotations

import base64
import ipaddress
import ssl
import struct

from msgspec import Struct

from forwarders.errors import BrokenOffError, ProxyError
from forwarders.spec import authority
from forwarders.transports.http import ByteStream, send_request

_VERSION, _NO_LOGIN, _PASSWORD = 5, 0, 2
_CONNECT, _IPV4, _NAME, _IPV6 = 1, 1, 3, 4
# RFC 1928, 6.
_REPLIES = {
    1: "it failed",
    2: "its rules forbid it",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "it took too long",
    7: "it does not support CONNECT",
    8: "it does not support this kind of address",
}
# Bytes of a user, a password or a name: each has one byte for its length.
LONGEST = 255


class Proxy(Struct, frozen=True):
    """One proxy. `tls`: of an https proxy. `login`: user and password. `source`: who set the URL. `socks`: SOCKS5."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    login: tuple[str, str] | None = None
    source: str = "proxy"
    socks: bool = False

    @property
    def authorization(self) -> str:
        """The Proxy-Authorization header (RFC 7617), "" for none."""
        return "" if self.login is None else "Basic " + base64.b64encode(":".join(self.login).encode()).decode()

    def __str__(self) -> str:
        return f"{authority(self.host, self.port)} ({self.source})"

    __repr__ = __str__  # without the password


async def connect_through(stream: ByteStream, proxy: Proxy, host: str, port: int) -> None:
    """Asks the proxy to connect `stream` to host:port. Raises ProxyError, and what the stream raises."""
    target = authority(host, port)
    try:
        if proxy.socks:
            rest = await _connect_by_socks(stream, host, port, proxy.login)
        else:
            rest = await _connect_by_http(stream, proxy, target)
    except BrokenOffError as error:
        raise ProxyError(f"the proxy {proxy} did not connect to {target}: {error}") from error
    if rest:
        raise ProxyError(f"the proxy {proxy} sent bytes of its own before {target} could answer")


async def _connect_by_http(stream: ByteStream, proxy: Proxy, target: str) -> bytes:
    """Sends CONNECT; returns the bytes after the response. Raises BrokenOffError, ProxyError."""
    headers = [("Host", target), ("User-Agent", "portside")]
    if proxy.authorization:
        headers.append(("Proxy-Authorization", proxy.authorization))
    response = await send_request(stream, "CONNECT", target, headers)
    if not response.switched:
        hint = ": its URL needs user:password@ before the host" if response.status == 407 else ""
        raise ProxyError(f"the proxy {proxy} refused to connect to {target}: HTTP {response.status}{hint}")
    return response.rest


async def _connect_by_socks(stream: ByteStream, host: str, port: int, login: tuple[str, str] | None) -> bytes:
    """Performs the SOCKS5 handshake; returns the bytes after the reply: none, if all is well. Raises BrokenOffError."""
    reader = _Reader(stream)
    methods = bytes([_NO_LOGIN] if login is None else [_NO_LOGIN, _PASSWORD])
    await stream.send(bytes([_VERSION, len(methods)]) + methods)
    version, method = await reader.exactly(2)
    if version != _VERSION:
        raise BrokenOffError("it is not a SOCKS5 proxy")
    if method == _PASSWORD and login is not None:
        await _log_in(stream, reader, login)
    elif method != _NO_LOGIN:
        raise BrokenOffError("it wants a login" if login is None else "it takes no user and password")
    await stream.send(bytes([_VERSION, _CONNECT, 0]) + _address(host) + struct.pack(">H", port))
    version, reply, _, kind = await reader.exactly(4)
    if version != _VERSION:
        raise BrokenOffError("its reply is not SOCKS5")
    if reply:
        raise BrokenOffError(_REPLIES.get(reply, f"SOCKS error {reply}"))
    sizes = {_IPV4: 4, _IPV6: 16}
    await reader.exactly((sizes[kind] if kind in sizes else (await reader.exactly(1))[0]) + 2)
    return reader.left


async def _log_in(stream: ByteStream, reader: _Reader, login: tuple[str, str]) -> None:
    """Authenticates with user and password (RFC 1929)."""
    user, password = (part.encode() for part in login)
    if max(len(user), len(password)) > LONGEST:
        raise BrokenOffError(f"its user or password is longer than {LONGEST} bytes")
    await stream.send(bytes([1, len(user)]) + user + bytes([len(password)]) + password)
    _, status = await reader.exactly(2)
    if status:
        raise BrokenOffError("it does not accept this user and password")


def _address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("idna") if not host.isascii() else host.encode()
        if len(name) > LONGEST:
            raise BrokenOffError(f"the name is longer than {LONGEST} bytes") from None
        return bytes([_NAME, len(name)]) + name
    return bytes([_IPV4 if address.version == 4 else _IPV6]) + address.packed


class _Reader:
    """Reads exact counts of bytes from a stream."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.left = b""

    async def exactly(self, count: int) -> bytes:
        while len(self.left) < count:
            data = await self._stream.receive()
            if not data:
                raise BrokenOffError("it closed the connection before it had answered")
            self.left += data
        found, self.left = self.left[:count], self.left[count:]
        return found
