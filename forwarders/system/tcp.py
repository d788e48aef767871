"""Sets up TCP sockets as each platform needs it, and asks the kernel what the client of a connection has done.

It also turns socket errors into text: os.strerror does not know them on Windows.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import select
import socket
import struct
import sys
from collections.abc import Callable, Sequence

# Whether sockets of files can be reached, and whether the containers of a Docker engine behind one have addresses that
# this machine reaches (on Linux, unless the engine is a desktop's).
UNIX_SOCKETS = sys.platform != "win32"
ENGINE_SHARES_NETWORK = sys.platform == "linux"

# The kernel detects a dead peer within 12 s, also while we write nothing (a watch): the idle time (macOS has another
# name for it), the interval of its questions and their number.
_KEEPALIVE = {"TCP_KEEPIDLE": 6, "TCP_KEEPALIVE": 6, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 2}
# If an API server has not acknowledged data in this time, or had no room for it (Linux's tcp_probe_timer), it is lost.
USER_TIMEOUT_MS = 10_000
# Connections that the kernel queues until they are accepted; Linux cuts this at net.core.somaxconn (4096).
BACKLOG = 4096
# Buffers that one sendmsg takes: Linux's UIO_MAXIOV. Without sendmsg this many bytes are join_pieces for one send.
MAX_PIECES, MAX_JOINED = 1024, 256 * 1024

# Error codes of Windows sockets, which have these names in Python's errno module there.
_ERROR_TEXTS = {
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


def set_exclusive(sock: socket.socket) -> None:
    """Call before bind: the port counts as taken if another listener has it, but not for connections in TIME_WAIT.

    On Windows SO_REUSEADDR would let two listeners share a port. Raises OSError.
    """
    if sys.platform == "win32":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def listening_socket(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    """A non-blocking socket that listens. Connections inherit its options, on every system. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        set_exclusive(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        set_options(sock, local_options())
        sock.settimeout(0)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def set_options(sock: socket.socket, options: Sequence[Option]) -> None:
    """Sets each option on the socket. Raises OSError."""
    for level, name, value in options:
        sock.setsockopt(level, name, value)


@functools.cache
def local_options() -> list[Option]:
    """No delay, and the kernel's own detection of dead peers if the system has it.

    Without TCP_USER_TIMEOUT: it would end connections whose peer is alive but reads slowly.
    """
    return [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *keepalive_options()]


def send_gathered(sock: socket.socket, pieces: Sequence[bytes | memoryview]) -> int:
    """Sends several pieces in one system call; returns how many bytes the kernel took. Raises OSError."""
    if sys.platform == "win32":
        return sock.send(join_pieces(pieces))
    return sock.sendmsg(pieces[:MAX_PIECES])


def join_pieces(pieces: Sequence[bytes | memoryview]) -> bytes | memoryview:
    """Joins the first pieces, up to MAX_JOINED bytes; a single piece is not copied."""
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
    """Options that make the kernel detect dead peers, with our times if the system allows setting them."""
    known = [(getattr(socket, name), value) for name, value in _KEEPALIVE.items() if hasattr(socket, name)]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *((socket.IPPROTO_TCP, name, value) for name, value in known)]


def api_server_options() -> list[Option]:
    """Options for an API server: `local_options`, and on Linux an end for data that it does not acknowledge."""
    if sys.platform != "linux":
        return local_options()
    return [*local_options(), (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)]


def unsent_options(most: int) -> list[Option]:
    """Options that limit the unsent bytes in the kernel's buffer, if the system has any."""
    name = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    return [] if name is None else [(socket.IPPROTO_TCP, name, most)]


def error_text(code: int, platform: str = sys.platform) -> str:
    """Describe an error code, in lower case, and in English if portside knows the code."""
    known = _ERROR_TEXTS.get(code) if platform == "win32" else None
    if known is None and sys.platform == "win32":
        import ctypes  # noqa: PLC0415 - only for rare errors

        known = ctypes.FormatError(code).strip().rstrip(".").lower()
    return known or os.strerror(code).lower()


def port_denied_reason(port: int, platform: str = sys.platform) -> str:
    """Why the system does not let this user bind the port (EACCES)."""
    if platform == "win32":
        look = "netsh interface ipv4 show excludedportrange protocol=tcp"
        return f"port {port} is reserved by Windows (see `{look}`) or held exclusively"
    return f"port {port} needs privileges that this user does not have"


def reachable_host(address: str) -> str:
    """The host for URLs of a listener on `address`: Windows does not connect to the wildcard addresses."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address) if sys.platform == "win32" else address  # noqa: S104 - compared with, not bound


# A client that closed its socket and one that only shut down its sending side look alike on the wire. For connections
# inside this machine Linux knows: a socket that no process holds has inode 0 (sock_diag(7), `struct inet_diag_msg`).

# Whether this system tells a client that half-closed from one that is gone.
HALF_CLOSE_IS_KNOWN = sys.platform == "linux"

_SOCK_DIAG_BY_FAMILY = 20
_AF_NETLINK, _NETLINK_SOCK_DIAG = 16, 4
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_ALL_STATES = 0xFFFFFFFF
_NO_COOKIE = b"\xff" * 8
# struct nlmsghdr is 16 bytes; idiag_inode is the last field of struct inet_diag_msg (72 bytes).
_HEADER = struct.Struct("=IHHII")
_INODE_AT = 16 + 68


_numbers = itertools.cycle(range(1, 1 << 31))


@functools.cache
def _netlink() -> int:
    """A descriptor for questions to the kernel, kept for the life of the process: nearly every connection asks one."""
    netlink = socket.socket(_AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)
    # The kernel answers within the call; the timeout only guards against one that does not answer at all.
    netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 50_000))
    return netlink.detach()


def reader_is_gone(connection: socket.socket) -> bool | None:
    """Whether no process holds the other end of `connection` any more; None if this is not known."""
    if sys.platform != "linux":
        return None
    try:
        ours, theirs = connection.getsockname(), connection.getpeername()
        if ours[0] != theirs[0]:
            return None  # perhaps another machine's client: this kernel does not hold its socket
        inode = _inode_of(socket.AF_INET6 if ":" in ours[0] else socket.AF_INET, theirs, ours)
    except OSError:
        return None
    return None if inode is None else inode == 0


def _inode_of(family: int, local: tuple[str, int], remote: tuple[str, int]) -> int | None:
    ident = struct.pack(
        "!HH16s16sI8s",
        local[1],
        remote[1],
        socket.inet_pton(family, local[0]),
        socket.inet_pton(family, remote[0]),
        0,
        _NO_COOKIE,
    )
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES) + ident
    netlink, number = _netlink(), next(_numbers)
    length = _HEADER.size + len(request)
    os.write(netlink, _HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, number, 0) + request)
    answer = b""
    while len(answer) < _HEADER.size or _HEADER.unpack_from(answer)[3] != number:  # an answer that came too late
        answer = os.read(netlink, 4096)
    # ENOENT may mean that the kernel has no tcp_diag module: nothing can be concluded from an error.
    if len(answer) < _INODE_AT + 4 or _HEADER.unpack_from(answer)[1] == _NLMSG_ERROR:
        return None
    return int.from_bytes(answer[_INODE_AT : _INODE_AT + 4], sys.byteorder)


# Events that one poll takes from the kernel; the rest is taken in the next turn.
EVENTS_A_POLL = 64


class SocketWatcher:
    """Calls functions when something happens at sockets: one epoll instance for all of them, read by `run`.

    The functions run in the task of `run`, and must not raise. Only on Linux: on other systems nothing is watched.
    """

    def __init__(self) -> None:
        self._watched: dict[int, Callable[[], None]] = {}
        if sys.platform == "linux":
            self._epoll = select.epoll()

    def watch_readable(self, connection: socket.socket, on_readable: Callable[[], None]) -> bool:
        """Calls `on_readable` while there are bytes or an end to read. Returns False if the system cannot tell."""
        return sys.platform == "linux" and self._register(connection, select.EPOLLIN, on_readable)

    def watch_hangup(self, connection: socket.socket, on_hangup: Callable[[], None]) -> None:
        """Calls it when the connection is over in both directions, or broken."""
        if sys.platform == "linux":
            self._register(connection, 0, on_hangup)  # epoll reports EPOLLHUP and EPOLLERR unasked

    def watch_disconnect(self, connection: socket.socket, on_disconnect: Callable[[], None]) -> bool:
        """Calls it once, when the client's FIN or reset has arrived, even behind unread bytes.

        Returns False if the system cannot tell.
        """
        if sys.platform != "linux":
            return False
        return self._register(connection, select.EPOLLRDHUP | select.EPOLLONESHOT, on_disconnect)

    if sys.platform == "linux":

        def _register(self, connection: socket.socket, events: int, on_event: Callable[[], None]) -> bool:
            try:
                self._epoll.register(connection.fileno(), events)
            except (OSError, ValueError):  # no room for another watch, or `run` has ended
                return False
            self._watched[connection.fileno()] = on_event
            return True

    def forget(self, connection: socket.socket) -> None:
        """Ends a watch, if there is one. Call it before the socket is closed."""
        if self._watched.pop(connection.fileno(), None) is not None and sys.platform == "linux":
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(connection.fileno())

    async def run(self) -> None:
        """Read the events and call the callbacks, until cancelled."""
        import trio  # noqa: PLC0415 - sockets are opened before trio is imported (early_ports)

        if sys.platform != "linux":
            await trio.sleep_forever()
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for descriptor, _ in self._epoll.poll(0, EVENTS_A_POLL):
                if on_event := self._watched.get(descriptor):
                    on_event()

    def close(self) -> None:
        """Close the epoll instance, after `run` has ended."""
        if sys.platform == "linux":
            self._epoll.close()
