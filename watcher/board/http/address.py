"""Owns where the status address is: its text, its socket, its URL. Refuses to answer there."""

from __future__ import annotations

import ipaddress
import socket

from msgspec import Struct

from forwarders.system.tcp import set_exclusive
from watcher.board import records
from watcher.errors import UsageError

# Status connections the kernel queues; people and scripts, not load.
BACKLOG = 64
# What the kernel keeps for each reader that does not read; answers are small.
SEND_BUFFER = 64 * 1024


class Address(Struct, frozen=True):
    """`host` is an IP address or localhost; `port` 0 leaves the choice to the system."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether it is this machine's alone."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback


def parse_address(text: str) -> Address | None:
    """`ADDR:PORT` or `off` (None). Raises UsageError."""
    if text == "off":
        return None
    host, colon, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5) or int(port) > 65535:
        raise UsageError(f"--status {text}: expected ADDR:PORT (such as 127.0.0.1:0) or off")
    if host != "localhost":
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise UsageError(f"--status {text}: {host!r} is not an IP address") from None
    return Address(host, int(port))


def listen(address: Address) -> socket.socket:
    """The bound status socket. Raises UsageError where the port is taken."""
    host, port = address.host, address.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        set_exclusive(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # accepted connections inherit it
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise UsageError(
            f"--status {host}:{port} cannot be bound: {error.strerror}; give another port, or off"
        ) from error
    return sock


def url(sock: socket.socket) -> str:
    """Where this machine reaches it: all addresses of a family include that family's loopback."""
    host, port = sock.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if sock.family == socket.AF_INET6 else "127.0.0.1"
    return records.url(host, port)
