"""Listens on ports before the rest of portside is imported, so that connections already wait then.

The kernel queues them. `listeners` takes a socket over when the forward of its port starts.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from contextlib import suppress

from forwarders.system.files import descriptor_limit
from forwarders.system.tcp import listening_socket

# 127.0.0.1 also means ::1, as with kubectl.
LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))

# The host does not have the address, such as ::1 without IPv6.
NO_SUCH_ADDRESS = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}

# portside has 20 descriptors open when idle; a forward with a connection needs a few more.
LEAST_DESCRIPTORS = 64

_open: dict[tuple[str, int], socket.socket] = {}


def listen_early(ports: Iterable[int]) -> None:
    """Listens on the loopback addresses of free ports. The forward reports what is not free, when it binds.

    With few descriptors it does nothing: the imports need them, and the command reports that they are too few.
    """
    limit = descriptor_limit()
    for port in ports if limit is None or limit >= LEAST_DESCRIPTORS else ():
        with suppress(OSError):
            _listen_on_loopback(port)


def _listen_on_loopback(port: int) -> None:
    """Raises OSError if an address is taken. Then it holds none of them, or the forward would blame portside."""
    sockets: dict[tuple[str, int], socket.socket] = {}
    try:
        for family, address in LOOPBACK:
            try:
                sockets[address, port] = listening_socket(family, address, port)
            except OSError as error:
                if error.errno not in NO_SUCH_ADDRESS:
                    raise
    except OSError:
        for sock in sockets.values():
            sock.close()
        raise
    _open.update(sockets)


def take_early(address: str, port: int) -> socket.socket | None:
    """The listening socket, which belongs to the caller from now on; None if there is none."""
    return _open.pop((address, port), None)


def close_early() -> None:
    """Closes the sockets that nobody took."""
    while _open:
        _open.popitem()[1].close()
