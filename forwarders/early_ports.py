"""Listens on ports before the rest of portside is imported, so that connections already wait then.

The kernel queues them. `listeners` takes a socket over when the forward of its port starts.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress

from forwarders.system.files import descriptor_limit
from forwarders.system.tcp import listening_socket

# 127.0.0.1 also means ::1, as with kubectl.
LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))

# portside has 20 descriptors open when idle; a forward with a connection needs a few more.
LEAST_DESCRIPTORS = 64

_open: dict[tuple[str, int], socket.socket] = {}


def listen_early(ports: Iterable[int]) -> None:
    """Listens on the loopback addresses of free ports. The forward reports what is not free, when it binds.

    With few descriptors it does nothing: the imports need them, and the command reports that they are too few.
    """
    limit = descriptor_limit()
    for port in ports if limit is None or limit >= LEAST_DESCRIPTORS else ():
        for family, address in LOOPBACK:
            with suppress(OSError):
                _open[address, port] = listening_socket(family, address, port)


def take_early(address: str, port: int) -> socket.socket | None:
    """The listening socket, which belongs to the caller from now on; None if there is none."""
    return _open.pop((address, port), None)


def close_early() -> None:
    """Closes the sockets that nobody took."""
    while _open:
        _open.popitem()[1].close()
