"""Asks a SOCKS5 proxy for a connection (RFC 1928), with user and password where it wants them (RFC 1929).

The proxy resolves names, for socks5 and socks5h alike, as in Go's net/http.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable

from forwarders.errors import ProxyError
from forwarders.transports.http import Bytes

_VERSION, _NO_LOGIN, _PASSWORD, _REFUSED = 5, 0, 2, 255
_CONNECT, _IPV4, _NAME, _IPV6 = 1, 1, 3, 4
# RFC 1928, 6.
_REPLIES = {
    1: "it failed",
    2: "its rules forbid it",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "it took too long",
    7: "it knows no CONNECT",
    8: "it knows no such kind of address",
}
# Bytes of a user, a password or a name: each has one byte for its length.
LONGEST = 255

Fail = Callable[[str], ProxyError]


async def connect_by_socks(stream: Bytes, host: str, port: int, login: tuple[str, str] | None, fail: Fail) -> bytes:
    """What came behind the answer: nothing, from an honest proxy. Raises what `fail` makes of a refusal."""
    reader = _Reader(stream, fail)
    methods = bytes([_NO_LOGIN] if login is None else [_NO_LOGIN, _PASSWORD])
    await stream.send(bytes([_VERSION, len(methods)]) + methods)
    version, method = await reader.exactly(2)
    if version != _VERSION:
        raise fail("what answers is no SOCKS5 proxy")
    if method == _PASSWORD and login is not None:
        await _log_in(stream, reader, login, fail)
    elif method != _NO_LOGIN:
        raise fail("it wants a login" if login is None else "it takes no user and password")
    await stream.send(bytes([_VERSION, _CONNECT, 0]) + _address(host, fail) + struct.pack(">H", port))
    version, reply, _, kind = await reader.exactly(4)
    if version != _VERSION:
        raise fail("its answer is no SOCKS5")
    if reply:
        raise fail(_REPLIES.get(reply, f"SOCKS error {reply}"))
    sizes = {_IPV4: 4, _IPV6: 16}
    await reader.exactly((sizes[kind] if kind in sizes else (await reader.exactly(1))[0]) + 2)
    return reader.left


async def _log_in(stream: Bytes, reader: _Reader, login: tuple[str, str], fail: Fail) -> None:
    user, password = (part.encode() for part in login)
    if max(len(user), len(password)) > LONGEST:
        raise fail(f"its user or password is longer than {LONGEST} bytes")
    await stream.send(bytes([1, len(user)]) + user + bytes([len(password)]) + password)
    _, status = await reader.exactly(2)
    if status:
        raise fail("it does not accept this user and password")


def _address(host: str, fail: Fail) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("idna") if not host.isascii() else host.encode()
        if len(name) > LONGEST:
            raise fail(f"the name is longer than {LONGEST} bytes") from None
        return bytes([_NAME, len(name)]) + name
    return bytes([_IPV4 if address.version == 4 else _IPV6]) + address.packed


class _Reader:
    """Exact counts of bytes from a stream of pieces."""

    def __init__(self, stream: Bytes, fail: Fail) -> None:
        self._stream = stream
        self._fail = fail
        self.left = b""

    async def exactly(self, count: int) -> bytes:
        while len(self.left) < count:
            data = await self._stream.receive()
            if not data:
                raise self._fail("it closed the connection before it had answered")
            self.left += data
        found, self.left = self.left[:count], self.left[count:]
        return found
