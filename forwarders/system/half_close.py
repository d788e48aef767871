"""Asks the kernel whether a process still holds the other end of a local connection.

A client that closed and one that only ended its sending look alike on the wire. On Linux the kernel tells, for
connections of this machine: a socket that no process holds has inode 0 (sock_diag(7), `struct inet_diag_msg`).
Elsewhere, and for other machines' clients, the answer is None: not known.
"""

from __future__ import annotations

import socket
import struct
import sys

# Whether this system tells a client that half-closed from one that is gone.
KNOWN = sys.platform == "linux"

_SOCK_DIAG_BY_FAMILY = 20
_AF_NETLINK, _NETLINK_SOCK_DIAG = 16, 4
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_ALL_STATES = 0xFFFFFFFF
_NO_COOKIE = b"\xff" * 8
# struct nlmsghdr is 16 bytes; in struct inet_diag_msg (72 bytes) idiag_inode stands last.
_HEADER = struct.Struct("=IHHII")
_INODE_AT = 16 + 68


def reader_is_gone(connection: socket.socket) -> bool | None:
    """Whether no process holds the other end of `connection` any more; None where that cannot be known."""
    if sys.platform != "linux":
        return None
    try:
        ours, theirs = connection.getsockname(), connection.getpeername()
        if ours[0] != theirs[0]:
            return None  # perhaps another machine's client: this kernel does not hold its socket
        inode = _inode_of(connection.family, theirs, ours)
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
    with socket.socket(_AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as netlink:
        # The kernel answers within the call; the time-out only guards against one that does not answer at all.
        netlink.settimeout(0.05)
        length = _HEADER.size + len(request)
        netlink.send(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + request)
        answer = netlink.recv(4096)
    # ENOENT may mean that the kernel has no tcp_diag module: nothing can be concluded from an error.
    if len(answer) < _INODE_AT + 4 or _HEADER.unpack_from(answer)[1] == _NLMSG_ERROR:
        return None
    return int.from_bytes(answer[_INODE_AT : _INODE_AT + 4], sys.byteorder)
