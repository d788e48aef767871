"""Sets up TCP sockets as each platform wants it: ports of our own, dead peers noticed, many pieces in one call.

It also has the words for errors of sockets: on Windows os.strerror does not know them.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Sequence

# Whether sockets of files can be reached, and whether a Docker engine behind one shares our network (on Linux, unless
# it is a desktop's): containers have addresses that we reach then.
UNIX_SOCKETS = sys.platform != "win32"
ENGINE_SHARES_NETWORK = sys.platform == "linux"

# A dead peer is noticed by the kernel within these seconds, also where nothing of ours is being written (a watch).
KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 6, 3, 2
# What an API server has not acknowledged, or has had no room for (Linux's tcp_probe_timer), in this time never arrives.
USER_TIMEOUT_MS = 10_000
# Buffers that one sendmsg takes: Linux's UIO_MAXIOV. Without sendmsg so many bytes are joined for one send.
MAX_PIECES, MAX_JOINED = 1024, 256 * 1024

# The kernel option for the idle time has another name on macOS.
_KEEPALIVE_NAMES = (("TCP_KEEPIDLE", "TCP_KEEPALIVE"), ("TCP_KEEPINTVL",), ("TCP_KEEPCNT",))

# Codes of Windows' sockets, which Python's errno module has under these names there.
_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset by peer",
    errno.ECONNABORTED: "software caused connection abort",
    errno.ETIMEDOUT: "connection timed out",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network is unreachable",
    errno.EADDRINUSE: "address already in use",
    errno.EADDRNOTAVAIL: "cannot assign requested address",
    errno.ENOBUFS: "no buffer space available",
}

# Level, name and value for setsockopt.
Option = tuple[int, int, int]


def own_the_port(sock: socket.socket) -> None:
    """Before bind: connections of an earlier run in TIME_WAIT do not make a port taken; another listener does.

    On Windows SO_REUSEADDR would let two listeners share a port. Raises OSError.
    """
    if sys.platform == "win32":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def send_gathered(sock: socket.socket, pieces: Sequence[bytes | memoryview]) -> int:
    """Sends neighbouring pieces in one system call; how many bytes the system took. Raises OSError."""
    if sys.platform == "win32":
        return sock.send(joined(pieces))
    return sock.sendmsg(pieces[:MAX_PIECES])


def joined(pieces: Sequence[bytes | memoryview]) -> bytes | memoryview:
    """The first pieces as one, up to MAX_JOINED bytes; a piece alone is not copied."""
    if len(pieces) == 1 or len(pieces[0]) >= MAX_JOINED:
        return pieces[0]
    chosen: list[bytes | memoryview] = []
    size = 0
    for piece in pieces:
        if (size := size + len(piece)) > MAX_JOINED:
            break
        chosen.append(piece)
    return b"".join(chosen)


def keepalive_options() -> list[Option]:
    """The kernel's own detection of dead peers, with its times where the system lets a program set them."""
    options: list[Option] = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for names, value in zip(_KEEPALIVE_NAMES, (KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT), strict=True):
        known = (getattr(socket, name) for name in names if hasattr(socket, name))
        options += [(socket.IPPROTO_TCP, option, value) for option in known][:1]
    return options


def give_up_options() -> list[Option]:
    """An end for connections whose peer acknowledges nothing, where the system has one."""
    if sys.platform == "linux":
        return [(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)]
    else:  # noqa: RET505 - mypy knows platforms in blocks alone
        return []


def unsent_options(most: int) -> list[Option]:
    """A limit for bytes that the kernel takes and has not sent, where the system has one."""
    name = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    return [] if name is None else [(socket.IPPROTO_TCP, name, most)]


def words_of(code: int, platform: str = sys.platform) -> str:
    """What an error code means, in lower case and in English where portside knows the code."""
    known = _WORDS.get(code) if platform == "win32" else None
    if known is None and sys.platform == "win32":
        import ctypes  # noqa: PLC0415 - for rare errors alone

        known = ctypes.FormatError(code).strip().rstrip(".").lower()
    return known or os.strerror(code).lower()


def privileged_port(port: int, platform: str = sys.platform) -> str:
    """Why the system lets this user not have the port (EACCES)."""
    if platform == "win32":
        look = "netsh interface ipv4 show excludedportrange protocol=tcp"
        return f"port {port} is reserved by Windows (see `{look}`) or held exclusively"
    return f"port {port} needs privileges that this user does not have"


def reachable_host(address: str) -> str:
    """A host to put into URLs for a listener on `address`: Windows does not connect to "all addresses"."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address) if sys.platform == "win32" else address  # noqa: S104 - compared with, not bound
