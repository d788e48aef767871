"""Reads and closes tunnels as tests do it: piece by piece, or as trio's streams."""

from __future__ import annotations

import operator

import trio

from forwarders.errors import TunnelError
from forwarders.session import Session
from forwarders.tasks import Notifier
from forwarders.transports.sockets import Piece
from forwarders.tunnel import Tunnel


async def receive_pieces(tunnel: Tunnel) -> list[Piece]:
    """Everything that has arrived, at least one piece; [] at the good end; TunnelError at another."""
    await trio.lowlevel.checkpoint_if_cancelled()
    news = Notifier()
    tunnel.on_data(news.fire)
    while not (pieces := tunnel.take_pieces()):
        if tunnel.closed:
            raise trio.ClosedResourceError
        if tunnel.error is not None:
            raise tunnel.error
        if tunnel.finished:
            return []
        await news.wait()
    return pieces


def close(tunnel: Tunnel) -> None:
    """For both directions: what was sent still arrives, what would still come is dropped."""
    tunnel.end()
    tunnel.abort()


class TunnelStream(trio.abc.HalfCloseableStream):
    """A tunnel as a stream, for trio's own checks of streams."""

    def __init__(self, session: Session, tunnel: Tunnel) -> None:
        self._session = session
        self._tunnel = tunnel
        self._left = b""
        self._closed = trio.Event()
        self._eof_sent = self._sending = self._receiving = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        await trio.lowlevel.checkpoint()
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this tunnel")
        self._receiving = True
        try:
            data = self._left or await self._received()
        except TunnelError as error:
            raise trio.BrokenResourceError(str(error)) from error
        finally:
            self._receiving = False
        size = len(data) if max_bytes is None else max_bytes
        self._left = data[size:]
        return data[:size]

    async def _received(self) -> bytes:
        """As `receive_pieces`; a close of this end wakes it too."""
        if self._tunnel.closed:
            raise trio.ClosedResourceError
        pieces: list[Piece] = []
        failures: list[TunnelError] = []

        async def receive() -> None:
            try:
                pieces.extend(await receive_pieces(self._tunnel))
            except TunnelError as error:
                failures.append(error)
            nursery.cancel_scope.cancel()

        async def until_closed() -> None:
            await self._closed.wait()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            nursery.start_soon(until_closed)
        if self._tunnel.closed:
            raise trio.ClosedResourceError
        if failures:
            raise failures[0]
        return b"".join(pieces)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._checked(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        await self._checked(b"")

    async def _checked(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._check_sending()
        self._sending = True
        try:
            if self._eof_sent:
                raise trio.ClosedResourceError
            self._check_open()
            await self._session.wait_room(self._tunnel._pair)
            await self._tunnel.write(data)
            self._check_open()
        finally:
            self._sending = False

    def _check_sending(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this tunnel")

    def _check_open(self) -> None:
        if self._tunnel.closed:
            raise trio.ClosedResourceError
        if self._tunnel.finished:
            raise trio.BrokenResourceError("the connection to the pod is over")

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        self._check_sending()
        if self._tunnel.closed:
            raise trio.ClosedResourceError
        self._eof_sent = True
        self._tunnel.end()

    async def aclose(self) -> None:
        if not self._tunnel.closed:
            close(self._tunnel)
        self._closed.set()
        await trio.lowlevel.checkpoint()
