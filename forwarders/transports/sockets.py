"""Reads and writes sockets, plain or with TLS on them, without needless copies and wakeups.

trio's own sockets yield after each successful call; these do not, so that received bytes can be stored before another
task, or a cancellation, intervenes. A loop over them must call trio.lowlevel.checkpoint. trio.SSLStream returns one TLS
record (16 KiB) a call. Here everything that the socket has is decrypted before a task waits again, which is worth a
third of the throughput.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Sequence
from typing import Protocol, cast

import trio

from forwarders.errors import UnreachableError
from forwarders.system.tcp import send_gathered
from forwarders.tasks import handshake_turns

# After a read of less than this there is seldom more: another recv would cost more than waiting for the socket does.
SMALL_READ = 16 * 1024

# The most that one read takes from a local connection, which becomes one DATA frame: with the 8 bytes of its head eight
# whole TLS records, since 8 bytes alone would cost a record and a wakeup at each hop. And from an API server: some 16
# records. All sockets share the buffers, since nothing can run between a read into them and the copy out of them: an
# idle connection holds no buffer.
READ_SIZE, CHANNEL_READ_SIZE = 128 * 1024 - 8, 256 * 1024
_received, _ciphertext = memoryview(bytearray(READ_SIZE)), memoryview(bytearray(CHANNEL_READ_SIZE))
_plaintext = memoryview(bytearray(CHANNEL_READ_SIZE + 64 * 1024))

Piece = bytes | memoryview


class RawSocket:
    """A connected, non-blocking stream socket. One reader and one writer at a time; raises OSError."""

    # Whether the kernel may move bytes from it, without `receive`.
    is_raw = True

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        self.socket = sock
        self._emptied = False  # probably, by the last read

    async def receive_into(self, buffer: memoryview) -> int:
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
        """Receives at most READ_SIZE bytes, b"" at the end. No checkpoint after the read."""
        return bytes(_received[: await self.receive_into(_received)])

    def receive_now(self) -> bytes:
        """As `receive`, without waiting. Raises BlockingIOError."""
        return bytes(_received[: self.socket.recv_into(_received)])

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


def _without(pieces: list[Piece], sent: int) -> list[Piece]:
    for index, piece in enumerate(pieces):
        if sent < len(piece):
            return [memoryview(piece)[sent:], *pieces[index + 1 :]]
        sent -= len(piece)
    return []


class Channel(Protocol):
    """A byte stream to the API server. One receiver and one sender at a time."""

    async def receive(self) -> bytes:
        """Returns b"" at the end. Raises OSError (ssl.SSLError is one) and trio.ClosedResourceError."""

    async def send(self, data: Piece) -> None:
        """Returns when the kernel has taken all of it. Raises as `receive`."""

    def put(self, data: Piece) -> bool:
        """Sends without waiting, and keeps what the kernel has no room for. False: call `flush`. Raises OSError."""

    async def flush(self) -> None:
        """Returns when the kernel has taken everything that was `put`. Raises as `receive`."""

    def close(self) -> None:
        """Closes at once; may be called again."""


class TransportStream(Protocol):
    """What TLS runs on: a RawSocket, or another channel in a TunnelledSocket."""

    async def receive_into(self, buffer: memoryview) -> int: ...
    async def send(self, data: Piece) -> None: ...
    def send_now(self, data: Piece) -> int: ...
    def close(self) -> None: ...


class SocketChannel:
    """A Channel over a socket. Keeps the order of bytes when several tasks send."""

    def __init__(self, sock: TransportStream) -> None:
        self._socket = sock
        self._left: Piece = b""
        self._flushing = trio.Lock()

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        return bytes(_plaintext[: await self._socket.receive_into(_plaintext)])

    async def send(self, data: Piece) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self.put(data):
            await self.flush()

    def put(self, data: Piece) -> bool:
        if self._left or self._flushing.locked():
            self._left = b"".join((self._left, data))
            return not self._left
        sent = self._socket.send_now(data)
        if sent < len(data):
            self._left = memoryview(data)[sent:]
        return not self._left

    async def flush(self) -> None:
        async with self._flushing:
            while data := self._left:
                self._left = b""
                await self._socket.send(data)

    def close(self) -> None:
        self._socket.close()


class TlsChannel(SocketChannel):
    """Bytes over TLS. One receiver and one sender at a time; either may have to flush the other's handshake bytes."""

    def __init__(self, stream: TransportStream, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(stream)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._exhausted = False  # everything that was received is decrypted

    async def handshake(self) -> None:
        """Performs the TLS handshake. Raises ssl.SSLError, OSError."""
        while True:
            await handshake_turns.turn()
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._send()
                await self._fill()
            else:
                await self._send()
                return

    async def receive(self) -> bytes:
        """Everything that can be decrypted now, b"" at the end. Raises ssl.SSLError, OSError."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            if self._exhausted:
                await self._fill()
            plain = self._decrypt()
            if plain == b"":
                return plain
            if self._outgoing.pending:
                await self._send()
            if plain is not None:
                return plain

    def put(self, data: Piece) -> bool:
        self._tls.write(data)
        return super().put(self._outgoing.read())

    def _decrypt(self) -> bytes | None:
        """Returns b"" at the end, with the peer's close_notify (`read` returns 0) or without; None: nothing yet."""
        size = 0
        self._exhausted = False
        try:
            while size < CHANNEL_READ_SIZE and (count := self._read_into(_plaintext[size:])):
                size += count
                if not (self._incoming.pending or self._tls.pending()):
                    # One more read would raise SSLWantReadError, which takes as long as to decrypt a small record.
                    self._exhausted = True
                    break
            if not size:
                raise ssl.SSLZeroReturnError  # Python returns 0 for a close_notify, here and in every later call
        except ssl.SSLWantReadError:
            self._exhausted = True
            return bytes(_plaintext[:size]) if size else None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass
        except ssl.SSLError:
            # What was decrypted before is good; the next call raises the error again.
            if not size:
                raise
        return bytes(_plaintext[:size])

    def _read_into(self, buffer: memoryview) -> int:
        # typeshed has neither memoryview nor the returned count here; the ssl documentation promises both.
        return cast("int", self._tls.read(CHANNEL_READ_SIZE, cast("bytearray", buffer)))

    async def _fill(self) -> None:
        count = await self._socket.receive_into(_ciphertext)
        if count:
            self._incoming.write(_ciphertext[:count])
        else:
            self._incoming.write_eof()

    async def _send(self) -> None:
        if not super().put(self._outgoing.read()):
            await self.flush()


async def start_tls(stream: TransportStream, context: ssl.SSLContext, server_name: str) -> TlsChannel:
    """Runs the TLS handshake over `stream`; closes it on failure. Raises UnreachableError."""
    channel = TlsChannel(stream, context, server_name)
    try:
        await channel.handshake()
    except BaseException as error:
        stream.close()
        if isinstance(error, OSError | trio.ClosedResourceError):  # ssl.SSLError is an OSError
            raise UnreachableError(f"TLS with {server_name} failed: {error}") from error
        raise
    return channel
