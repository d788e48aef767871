"""Non-blocking sockets that are read and written without needless copies and wakeups, and how they are connected.

trio's own sockets yield after each successful call; these do not, so that received bytes can be stored before another
task, or a cancellation, intervenes. A loop over them must call trio.lowlevel.checkpoint.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import trio

from forwarders.system.tcp import (
    Option,
    give_up_options,
    local_options,
    reader_is_gone,
    send_gathered,
    set_options,
    unsent_options,
)

# Unsent bytes that the kernel takes from us: a PING must not queue behind megabytes.
NOTSENT = 128 * 1024
# After a read of less than this there is seldom more: another recv would cost more than waiting for the socket does.
SMALL_READ = 16 * 1024

# One read from a local connection becomes one DATA frame. All sockets share the buffer, since nothing can run between
# a read into it and the copy out of it: an idle connection holds no buffer.
READ_SIZE = 128 * 1024
_read_buffer = bytearray(READ_SIZE)
_read_view = memoryview(_read_buffer)

# The kernel repeats a lost SYN after 1, 3 and 7 s. To use a recovered path sooner, another attempt starts in these
# intervals and ends after its own time, so at most six run at once. Seconds.
ATTEMPT_EVERY, ATTEMPT_LIFE = 0.5, 3.0

Piece = bytes | memoryview

# Seconds until a caller asks again whether a client has left, at first and later: a close shows soon after its FIN.
FIRST_LOOK, LAST_LOOK = 0.005, 1.0


class RawSocket:
    """A connected, non-blocking stream socket. One reader and one writer at a time; raises OSError."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        self.socket = sock
        self._emptied = False  # probably, by the last read

    async def receive_into(self, buffer: bytearray | memoryview) -> int:
        """Returns the number of bytes read, 0 at the end. No checkpoint after the read."""
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
        """Sends without waiting; returns how many bytes the kernel took."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0

    async def send_pieces(self, pieces: Sequence[Piece]) -> None:
        """Writes the pieces in as few system calls as possible."""
        left = list(pieces)
        while left := self.send_pieces_now(left):
            await trio.lowlevel.wait_writable(self.socket)

    def send_pieces_now(self, pieces: list[Piece]) -> list[Piece]:
        """Sends without waiting; returns the pieces that the kernel did not take."""
        while pieces:
            try:
                sent = send_gathered(self.socket, pieces)
            except BlockingIOError:
                break
            pieces = _without(pieces, sent)
        return pieces

    @property
    def may_splice(self) -> bool:
        """Whether the kernel may move bytes to it, without `before_send`."""
        return True

    def before_send(self, pieces: list[Piece]) -> None:
        """Called with the pod's bytes before they are sent; a hook for subclasses."""

    def shutdown_writing(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        # A task that still waits on the socket gets trio.ClosedResourceError instead of waiting for ever.
        trio.lowlevel.notify_closing(self.socket)
        self.socket.close()

    def reset(self) -> None:
        """Closes so that the client sees a reset and does not take what it has received for complete."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    async def turn_away(self, reason: str) -> None:  # noqa: ARG002 - plain TCP cannot carry a reason
        """Closes a connection that no pod could serve; a reset is the only refusal that every protocol understands."""
        self.reset()
        await trio.lowlevel.checkpoint()


def has_left(connection: socket.socket) -> bool:
    """Whether the client has reset or closed its connection, as far as the system can tell.

    A client that has only ended its sending still waits for an answer: it has not left.
    """
    return _was_reset(connection) or reader_is_gone(connection) is True


def left_before_sending(connection: socket.socket) -> bool:
    """Whether the client has reset its connection, or closed it with nothing left to read.

    Cheap for a client that has not left, because it runs for every new connection.
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


async def connect_tcp(host: str, port: int, options: Sequence[Option] | None = None) -> RawSocket:
    """Connects by happy eyeballs. `options`: None means api_server_options(). Raises OSError; has no deadline."""
    stream = await first_connected(partial(trio.open_tcp_stream, host, port), OSError)
    sock = socket.socket(fileno=stream.socket.detach())
    try:
        set_options(sock, api_server_options() if options is None else options)
        set_options(sock, unsent_options(NOTSENT))
    except OSError:
        sock.close()
        raise
    return RawSocket(sock)


def api_server_options() -> list[Option]:
    """For a connection to an API server: `local_options`, and an end for data that it does not acknowledge."""
    return [*local_options(), *give_up_options()]


class AsyncCloseable(Protocol):
    """trio's streams, and httpcore's."""

    async def aclose(self) -> None: ...


Stream = TypeVar("Stream", bound=AsyncCloseable)


async def first_connected(connect_tcp: Callable[[], Awaitable[Stream]], failure: type[Exception]) -> Stream:
    """Runs attempts next to each other, since SYNs may be lost; returns the first stream and closes the others.

    The first `failure` ends them all and is raised. The caller sets the deadline.
    """
    streams: list[Stream] = []
    failures: list[Exception] = []

    async def attempt() -> None:
        with trio.move_on_after(ATTEMPT_LIFE):
            try:
                streams.append(await connect_tcp())
            except failure as error:
                failures.append(error)
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_start_repeatedly, nursery, attempt)
    except BaseException:
        await _close_all(streams)
        raise
    await _close_all(streams[1:])
    if not streams:
        raise failures[0]
    return streams[0]


async def _start_repeatedly(nursery: trio.Nursery, attempt: Callable[[], Awaitable[None]]) -> None:
    while True:
        nursery.start_soon(attempt)
        await trio.sleep(ATTEMPT_EVERY)


async def _close_all(streams: list[Stream]) -> None:
    """Closes at once, also in a cancelled task. One shielded scope each: else only the first one would be closed."""
    for stream in streams:
        with trio.CancelScope(shield=True) as scope:
            scope.cancel()
            await stream.aclose()
