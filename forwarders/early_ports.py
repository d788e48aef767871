"""Listens on ports before the rest of portside is imported, so that connections already wait then.

The kernel queues them until the forward of the port starts, which takes the socket over.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress

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
            for sock in listen_on_all(LOOPBACK, port):
                _open[sock.getsockname()[:2]] = sock


def listen_on_all(addresses: Sequence[tuple[socket.AddressFamily, str]], port: int) -> list[socket.socket]:
    """Listens on the first address, and on each other one that the host has; port 0: on one that the system chooses.

    Takes over the sockets of `listen_early`. Raises OSError; then it holds none, or the forward would blame portside.
    """
    sockets: list[socket.socket] = []
    with ExitStack() as undo:
        for family, address in addresses:
            try:
                sock = _open.pop((address, port), None) or listening_socket(family, address, port)
            except OSError as error:
                if sockets and error.errno in NO_SUCH_ADDRESS:
                    continue
                raise
            undo.callback(sock.close)
            sockets.append(sock)
            port = port or sock.getsockname()[1]
        undo.pop_all()
    return sockets


def close_early() -> None:
    """Close the sockets that no forward took over."""
    while _open:
        _open.popitem()[1].close()
