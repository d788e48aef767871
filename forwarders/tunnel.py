"""Is one connection to a port in a pod, as a stream. Its session reads and writes for it.

Also makes errors of the runtime's texts, by what they prove (wire/runtimes.py).
"""

from __future__ import annotations

import functools
import logging
import operator
from collections.abc import Callable
from typing import Protocol

import trio

from forwarders.errors import ForwarderError
from forwarders.tasks import Notifier, Tasks
from forwarders.transports.sockets import Piece
from forwarders.wire.runtimes import MAX_TAKEN_FRAME, Meaning, meaning, shape

logger = logging.getLogger("portside.sessions")

# A reader slower than the pod may leave this much unread before its session pauses (there is no flow control per
# stream in spdystream): enough to ride out a scheduling delay at 300 MB/s, little beside a session's TLS state.
RECEIVE_LIMIT = 512 * 1024
# One DATA frame; the peer allocates each as a whole.
FRAME_SIZE = MAX_TAKEN_FRAME


class TunnelError(ForwarderError):
    """The connection to the pod broke; what was received may be short."""


class DialError(TunnelError):
    """The runtime did not get a connection: no byte can have reached an application, so trying again is safe."""

    def __init__(self, message: str, *, sandbox_gone: bool = False) -> None:
        super().__init__(message)
        self.sandbox_gone = sandbox_gone


def classify(text: str) -> TunnelError:
    """The error that the runtime's text stands for."""
    match meaning(text):
        case Meaning.GONE:
            return DialError(text, sandbox_gone=True)
        case Meaning.REFUSED:
            return DialError(text)
        case Meaning.BROKEN:
            return TunnelError(text)
        case Meaning.UNKNOWN:
            _ask_for_report(shape(text))
            return TunnelError(text)


@functools.lru_cache(maxsize=32)
def _ask_for_report(text: str) -> None:
    """Logs each kind of text once."""
    logger.warning("the container runtime gave an error that portside does not know; please report it: %s", text)


class Link(Protocol):
    """What a tunnel needs of its session."""

    async def wait_room(self, pair: int) -> None: ...
    async def send(self, pair: int, data: Piece) -> None: ...
    def send_eof(self, pair: int) -> None: ...
    def abort(self, pair: int) -> None: ...
    async def confirm(self, pair: int) -> bool: ...


class Carrier(Protocol):
    """What carries one local connection's bytes: a Tunnel, or a connection of another kind (direct.DirectTunnel)."""

    received: int
    error: TunnelError | None

    @property
    def finished(self) -> bool: ...
    def deliver(self, news: Callable[[], None], tasks: Tasks) -> None: ...
    def take_pieces(self) -> list[Piece]: ...
    async def write(self, data: Piece) -> None: ...
    async def confirm(self) -> bool: ...
    async def wait_finished(self) -> None: ...
    def end(self) -> None: ...
    def abort(self) -> None: ...


class Tunnel(trio.abc.HalfCloseableStream):
    """A trio stream. Whoever wants what comes in the moment it comes asks for news (`deliver`) instead of receiving.

    `error`: why it is over, None for a good end; a DialError while nothing has come. `receive_pieces` raises it;
    `receive_some` and `send_all` turn it into trio.BrokenResourceError, as the abstract class asks.
    """

    def __init__(self, link: Link, pair: int) -> None:
        self._link = link
        self._pair = pair
        self._pieces: list[Piece] = []
        self._unread = 0
        self._changed = Notifier()
        self._drained = Notifier()
        self._sending = self._receiving = False
        self._finished = False
        self._eof_sent = False
        self._news: Callable[[], None] | None = None
        self.error: TunnelError | None = None
        self.received = 0
        self.closed = False

    # The session's side

    def feed(self, data: Piece) -> None:
        """More has come; `tell` follows, once for all that came together."""
        self._pieces.append(data)
        self._unread += len(data)
        self.received += len(data)

    def tell(self) -> None:
        if self._news is not None:
            self._news()
        self._changed.fire()

    def finish(self, error: TunnelError | None) -> None:
        """The pair is over. Bytes that came after a dial cannot be taken back, so such an error is no DialError."""
        if self._finished:
            return
        if isinstance(error, DialError) and self.received:
            error = TunnelError(str(error))
        self._finished = True
        self.error = error
        self.tell()
        self._drained.fire()

    def fail(self, error: TunnelError) -> None:
        """End it before the runtime does."""
        self._link.abort(self._pair)
        self.finish(error)

    @property
    def unread(self) -> int:
        """Bytes that have come and are not taken."""
        return self._unread

    @property
    def full(self) -> bool:
        return self._unread >= RECEIVE_LIMIT and not self._finished and not self.closed

    async def wait_drained(self) -> None:
        while self.full:
            await self._drained.wait()

    # The user's side

    @property
    def finished(self) -> bool:
        """Nothing more will come, or go."""
        return self._finished

    def deliver(self, news: Callable[[], None], tasks: Tasks) -> None:  # noqa: ARG002 - others need a task
        """From now on `news` is called, and must not raise, when something has come to be taken, and at the end."""
        self._news = news
        if self._pieces or self._finished:
            news()

    def take_pieces(self) -> list[Piece]:
        """Everything that has come and is not taken yet."""
        pieces, self._pieces = self._pieces, []
        self._unread = 0
        self._drained.fire()
        return pieces

    async def receive_pieces(self) -> list[Piece]:
        """Everything that has come, at least one piece; [] at the good end; TunnelError at another."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this tunnel")
        self._receiving = True
        try:
            while not self._pieces:
                if self.closed:
                    raise trio.ClosedResourceError
                if self.error is not None:
                    raise self.error
                if self._finished:
                    return []
                await self._changed.wait()
        finally:
            self._receiving = False
        return self.take_pieces()

    async def confirm(self) -> bool:
        """Waits until the pod's end is known to have taken what was sent; False if the pair is over instead."""
        return self.received > 0 or await self._link.confirm(self._pair)

    async def wait_finished(self) -> None:
        while not (self._finished or self.closed):
            await self._changed.wait()

    async def write(self, data: Piece) -> None:
        """Queue `data`, which must not change afterwards. Bytes for a finished pair are dropped, as TCP would."""
        view = memoryview(data)
        while view and not self._finished:
            await self._link.send(self._pair, view[:FRAME_SIZE])
            view = view[FRAME_SIZE:]

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        await trio.lowlevel.checkpoint()
        try:
            joined = b"".join(await self.receive_pieces())
        except TunnelError as error:
            raise trio.BrokenResourceError(str(error)) from error
        if max_bytes is not None and len(joined) > max_bytes:
            self._pieces.insert(0, joined[max_bytes:])
            self._unread += len(joined) - max_bytes
            joined = joined[:max_bytes]
        return joined

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._checked(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        await self._checked(b"")

    async def _checked(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this tunnel")
        self._sending = True
        try:
            if self._eof_sent:
                raise trio.ClosedResourceError
            self._check_open()
            await self._link.wait_room(self._pair)
            await self.write(data)
            self._check_open()
        finally:
            self._sending = False

    def _check_open(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError
        if self._finished:
            raise trio.BrokenResourceError("the connection to the pod is over")

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this tunnel")
        if self.closed:
            raise trio.ClosedResourceError
        self.end()

    def end(self) -> None:
        """Queue our FIN; the runtime cuts the answer off 1 s later."""
        if not self._eof_sent:
            self._eof_sent = True
            self._link.send_eof(self._pair)

    def abort(self) -> None:
        """Close at once: the pod's end is reset unless the pair is over already."""
        if self.closed:
            return
        self.closed = True
        self._news = None
        self._pieces.clear()
        self._unread = 0
        self._link.abort(self._pair)
        self._changed.fire()
        self._drained.fire()

    async def aclose(self) -> None:
        """Close for both directions: what was sent still arrives, what would still come is dropped."""
        if not self.closed:
            self.end()
        self.abort()
        await trio.lowlevel.checkpoint()
