"""Local ports: whether one is free, which one is free, and ports taken on purpose."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable, Iterator


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Whether nothing listens there. A port in TIME_WAIT counts as free."""
    try:
        listening(port, address).close()
    except OSError:
        return False
    return True


def listening(port: int, address: str = "127.0.0.1") -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


def reset(sock: socket.socket) -> None:
    """Close so that the other side gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def free_port() -> int:
    """A port that was free a moment ago."""
    with listening(0) as sock:
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def held(ports: Iterable[int]) -> Iterator[None]:
    """Listen on these ports of 127.0.0.1; ports that another program has already stay as they are."""
    with contextlib.ExitStack() as stack:
        for port in ports:
            with contextlib.suppress(OSError):
                stack.enter_context(listening(port))
        yield
