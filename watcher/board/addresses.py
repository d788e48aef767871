"""Parses and binds the address of --status, makes local URLs, and warns of forwards that other machines can reach."""

from __future__ import annotations

import ipaddress
import logging
import socket

from msgspec import Struct

from forwarders.spec import authority
from forwarders.system.tcp import reachable_host, set_exclusive
from watcher.errors import UsageError
from watcher.plan.plan import Plan

logger = logging.getLogger("portside.board")

# Status connections that wait to be accepted: those of people and scripts, not of load.
BACKLOG = 64
# Bytes that the kernel keeps for each reader that does not read; responses are small.
SEND_BUFFER = 64 * 1024


class Address(Struct, frozen=True):
    """The address of --status. `host` is an IP address or localhost; port 0 lets the system choose."""

    host: str
    port: int


def is_loopback(address: str) -> bool:
    """Whether only this machine can connect there. A host name other than localhost can be any machine."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def parse_status_address(text: str) -> Address | None:
    """Parse the value of --status: `ADDR:PORT`, or `off` (None). Raises UsageError."""
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
    """Bind the socket of the status address. Raises UsageError if the port is taken."""
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


def status_url(sock: socket.socket) -> str:
    """The URL of the status address for clients on this machine; a wildcard address includes loopback."""
    host, port = sock.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if sock.family == socket.AF_INET6 else "127.0.0.1"
    return local_url(host, port)


def local_url(address: str, port: int) -> str:
    """The URL that opens a local port on this machine."""
    return f"http://{authority(reachable_host(address), port)}"


def warn_beyond_loopback(plan: Plan, warned: set[str]) -> None:
    """Log a warning for each non-loopback address of the plan that is not in `warned`, and add it there.

    It prevents nothing: the user asked for these addresses.
    """
    for address in dict.fromkeys(wanted.spec.address for wanted in plan.forwards):
        if address not in warned and not is_loopback(address):
            warned.add(address)
            logger.warning(
                "forwards at %s can be reached from other machines: anyone who can reach this machine can use them",
                address,
            )
