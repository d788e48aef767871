"""Owns non-blocking sockets read and written without a copy or a wakeup too many. Refuses protocols.

trio's own sockets yield after each successful call; these do not, so that what was received can be put away before
any other task (or a cancellation) can come between. Whoever loops over them must checkpoint.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Sequence
from functools import partial

import trio

from forwarders.system.tcp import (
    Option,
    give_up_options,
    keepalive_options,
    reader_is_gone,
    send_gathered,
    unsent_options,
)
from forwarders.transports.attempts import first_of_many

# Unsent bytes the kernel takes from us: a question whether the peer lives must not queue behind megabytes.
NOTSENT = 128 * 1024
# Behind a read of less than this there is seldom more at once: to ask costs a message more than to wait does.
SMALL_READ = 16 * 1024

# What is read from a local connection at once becomes one DATA frame. The buffer is shared by all sockets, since
# nothing can run between the read into it and the copy out of it: an idle connection holds none.
READ_SIZE = 128 * 1024
_read_buffer = bytearray(READ_SIZE)
_read_view = memoryview(_read_buffer)

Piece = bytes | memoryview

# Seconds until a caller asks again whether a client has left, at first and later: a close shows soon after its FIN.
FIRST_LOOK, LAST_LOOK = 0.005, 1.0


class RawSocket:
    """A connected, non-blocking stream socket. One reader and one writer at a time; raises OSError."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        self.socket = sock
        self._emptied = False  # by the last read, in all likelihood

    async def receive_into(self, buffer: bytearray | memoryview) -> int:
        """Bytes read, 0 at the end. No checkpoint after the read."""
        if self._emptied:
            await trio.lowlevel.wait_readable(self.socket)
        while True:
            try:
                count = self.socket.recv_into(buffer)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self.socket)
            else:
                self._emptied = count < SMALL_READ
                return count

    async def receive(self) -> bytes:
        """At most READ_SIZE bytes, b"" at the end. No checkpoint after the read."""
        return bytes(_read_view[: await self.receive_into(_read_buffer)])

    async def send(self, data: Piece) -> None:
        view = memoryview(data)
        while view:
            if sent := self.send_now(view):
                view = view[sent:]
            else:
                await trio.lowlevel.wait_writable(self.socket)

    def send_now(self, data: Piece) -> int:
        """How many of the bytes the system has taken."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0

    async def send_pieces(self, pieces: Sequence[Piece]) -> None:
        """Writes neighbouring pieces in as few system calls as the socket takes."""
        left = list(pieces)
        while left := self.send_pieces_now(left):
            await trio.lowlevel.wait_writable(self.socket)

    def send_pieces_now(self, pieces: list[Piece]) -> list[Piece]:
        """As many as the system takes; those that are left."""
        while pieces:
            try:
                sent = send_gathered(self.socket, pieces)
            except BlockingIOError:
                break
            pieces = _without(pieces, sent)
        return pieces

    def passes(self, pieces: list[Piece]) -> None:
        """These are about to be sent: for who needs to know them."""

    def shutdown_writing(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        # A task that still waits on the socket gets trio.ClosedResourceError instead of a wait for ever.
        trio.lowlevel.notify_closing(self.socket)
        self.socket.close()

    def reset(self) -> None:
        """Close so that the other side sees a reset, not an end: what it has got is not whole."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    async def turn_away(self, reason: str) -> None:  # noqa: ARG002 - bare bytes have no word for it
        """Nothing could serve it: it is told in the only way that every protocol has."""
        self.reset()
        await trio.lowlevel.checkpoint()


def has_left(connection: socket.socket) -> bool:
    """Whether the client has reset or closed its connection, as far as the system can tell.

    A client that has only ended its sending still waits for an answer: it has not left.
    """
    return _was_reset(connection) or reader_is_gone(connection) is True


def left_before_sending(connection: socket.socket) -> bool:
    """Whether the client has reset its connection, or closed it with nothing left to read.

    Cheap for a client that is there, since every new connection asks it.
    """
    try:
        if connection.recv(1, socket.MSG_PEEK):
            return _was_reset(connection)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return reader_is_gone(connection) is True


def _was_reset(connection: socket.socket) -> bool:
    """Whether the kernel has seen a reset, even behind unread bytes. True once: reading the error clears it."""
    try:
        return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
    except OSError:
        return True


def _without(pieces: list[Piece], sent: int) -> list[Piece]:
    for index, piece in enumerate(pieces):
        if sent < len(piece):
            return [memoryview(piece)[sent:], *pieces[index + 1 :]]
        sent -= len(piece)
    return []


async def connect(host: str, port: int, options: Sequence[Option] | None = None) -> RawSocket:
    """Connect by happy eyeballs. `options`: None means keep_alive_options(). Raises OSError; has no deadline."""
    stream = await first_of_many(partial(trio.open_tcp_stream, host, port), OSError)
    sock = socket.socket(fileno=stream.socket.detach())
    try:
        set_options(sock, keep_alive_options() if options is None else options)
        set_options(sock, unsent_options(NOTSENT))
    except OSError:
        sock.close()
        raise
    return RawSocket(sock)


def set_options(sock: socket.socket, options: Sequence[Option]) -> None:
    """Raises OSError."""
    for level, name, value in options:
        sock.setsockopt(level, name, value)


def keep_alive_options() -> list[Option]:
    """For a connection to an API server: `local_options`, and an end for what it does not take."""
    return [*local_options(), *give_up_options()]


def local_options() -> list[Option]:
    """No delay, and the kernel's own detection of dead peers where the system has it.

    Without TCP_USER_TIMEOUT: it ends connections whose peer lives but does not read, and a reader may take its time.
    """
    return [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *keepalive_options()]
