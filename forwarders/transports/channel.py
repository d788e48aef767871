"""The byte channel to the API server: plain TCP, or TLS over memory BIOs.

trio.SSLStream returns one TLS record (16 KiB) a call. Here everything that the socket has is decrypted before a task
waits again, which is worth a third of the throughput.
"""

from __future__ import annotations

import ssl
from typing import Protocol, cast

import trio

from forwarders.errors import UnreachableError
from forwarders.transports.sockets import Piece

# One read from the socket: some 16 TLS records. All channels share the buffers, since nothing can run between a read
# into them and the copy out of them.
READ_SIZE = 256 * 1024
_ciphertext = bytearray(READ_SIZE)
_plaintext = bytearray(READ_SIZE + 64 * 1024)
_ciphertext_view, _plaintext_view = memoryview(_ciphertext), memoryview(_plaintext)


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

    async def receive_into(self, buffer: bytearray) -> int: ...
    async def send(self, data: Piece) -> None: ...
    def send_now(self, data: Piece) -> int: ...
    def close(self) -> None: ...


class TunnelledSocket:
    """Makes a channel look like a socket, for TLS inside the TLS of an https proxy."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._left = b""

    async def receive_into(self, buffer: bytearray) -> int:
        """As a RawSocket's: returns 0 at the end, no checkpoint after the read."""
        data = self._left or await self._channel.receive()
        taken, self._left = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)

    async def send(self, data: Piece) -> None:
        await self._channel.send(data)

    def send_now(self, data: Piece) -> int:  # noqa: ARG002 - the protocol's signature
        """Takes nothing, so that everything goes through `send`: two layers of TLS are too rare for a fast path."""
        return 0

    def close(self) -> None:
        self._channel.close()


class _SendBuffer:
    """Keeps the order of bytes when several tasks send: what the socket does not take at once waits for `flush`."""

    def __init__(self, sock: TransportStream) -> None:
        self._socket = sock
        self._left: Piece = b""
        self._flushing = trio.Lock()

    def put(self, data: Piece) -> bool:
        """Returns whether everything has been sent."""
        if self._left or self._flushing.locked():
            self._left = b"".join((self._left, data))
            return not self._left
        sent = self._socket.send_now(data)
        if sent < len(data):
            self._left = memoryview(data)[sent:]
        return not self._left

    async def send(self, data: Piece) -> None:
        if not self.put(data):
            await self.flush()

    async def flush(self) -> None:
        async with self._flushing:
            while data := self._left:
                self._left = b""
                await self._socket.send(data)


class PlainChannel:
    """Bytes over a plain socket."""

    def __init__(self, sock: TransportStream) -> None:
        self._socket = sock
        self._buffer = _SendBuffer(sock)
        self.put = self._buffer.put
        self.flush = self._buffer.flush

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        return bytes(_plaintext_view[: await self._socket.receive_into(_plaintext)])

    async def send(self, data: Piece) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._buffer.send(data)

    def close(self) -> None:
        self._socket.close()


class TlsChannel:
    """Bytes over TLS. One receiver and one sender at a time; either may have to flush the other's handshake bytes."""

    def __init__(self, stream: TransportStream, context: ssl.SSLContext, server_name: str) -> None:
        self._socket = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._exhausted = False  # everything that was received is decrypted
        self._buffer = _SendBuffer(stream)
        self.flush = self._buffer.flush

    async def handshake(self) -> None:
        """Performs the TLS handshake. Raises ssl.SSLError, OSError."""
        while True:
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

    async def send(self, data: Piece) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._tls.write(data)
        await self._send()

    def put(self, data: Piece) -> bool:
        self._tls.write(data)
        return self._buffer.put(self._outgoing.read())

    def close(self) -> None:
        self._socket.close()

    def _decrypt(self) -> bytes | None:
        """Returns b"" at the end, with the peer's close_notify (`read` returns 0) or without; None: nothing yet."""
        size = 0
        self._exhausted = False
        try:
            while size < READ_SIZE and (count := self._read_into(_plaintext_view[size:])):
                size += count
            if not size:
                raise ssl.SSLZeroReturnError  # Python returns 0 for a close_notify, here and in every later call
        except ssl.SSLWantReadError:
            self._exhausted = True
            return bytes(_plaintext_view[:size]) if size else None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass
        except ssl.SSLError:
            # What was decrypted before is good; the next call raises the error again.
            if not size:
                raise
        return bytes(_plaintext_view[:size])

    def _read_into(self, buffer: memoryview) -> int:
        # typeshed has neither memoryview nor the returned count here; the ssl documentation promises both.
        return cast("int", self._tls.read(READ_SIZE, cast("bytearray", buffer)))

    async def _fill(self) -> None:
        count = await self._socket.receive_into(_ciphertext)
        if count:
            self._incoming.write(_ciphertext_view[:count])
        else:
            self._incoming.write_eof()

    async def _send(self) -> None:
        await self._buffer.send(self._outgoing.read())


async def start_tls(stream: TransportStream, context: ssl.SSLContext, server_name: str) -> TlsChannel:
    """Runs the TLS handshake over `stream`; closes it on failure. Raises UnreachableError."""
    channel = TlsChannel(stream, context, server_name)
    try:
        await channel.handshake()
    except (ssl.SSLError, OSError, trio.ClosedResourceError) as error:
        stream.close()
        raise UnreachableError(f"TLS with {server_name} failed: {error}") from error
    except BaseException:
        stream.close()
        raise
    return channel
