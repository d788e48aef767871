"""Owns the way back of one connection: what a tunnel has received goes to the local socket in the moment it comes.

Refuses to wait for a slow client in the moment's task, which is the session's: what the socket has no room for is sent
by a task of the connection's own, and the tunnel's bound holds for what comes meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from forwarders.transports.sockets import Piece, RawSocket
from forwarders.tunnel import Carrier


class Delivery:
    """Cancels `nursery`, in which its task runs, when all is delivered or nothing can be; `failure`: why it cannot.

    `on_bytes` is called when some have come, before they go on.
    """

    def __init__(self, tunnel: Carrier, local: RawSocket, nursery: trio.Nursery, on_bytes: Callable[[], None]) -> None:
        self.failure: Exception | None = None
        self._tunnel = tunnel
        self._local = local
        self._nursery = nursery
        self._on_bytes = on_bytes
        self._catching_up = False

    def begin(self) -> None:
        self._tunnel.deliver(self._news, self._nursery)

    def _news(self) -> None:
        """The tunnel has something, or is over. Never raises: its caller serves other connections too."""
        if self._catching_up:
            return
        try:
            left = self._local.send_pieces_now(self._taken())
        except Exception as error:  # noqa: BLE001 - raised by the connection's own task
            self._fail(error)
            return
        if left:
            self._catching_up = True
            self._nursery.start_soon(self._catch_up, left)
        elif self._tunnel.finished:
            self._nursery.cancel_scope.cancel()

    async def _catch_up(self, pieces: list[Piece]) -> None:
        try:
            while pieces:
                await self._local.send_pieces(pieces)
                pieces = self._taken()
        except OSError as error:
            self._fail(error)
            return
        self._catching_up = False
        self._news()

    def _taken(self) -> list[Piece]:
        pieces = self._tunnel.take_pieces()
        if pieces:
            self._on_bytes()
            self._local.passes(pieces)
        return pieces

    def _fail(self, error: Exception) -> None:
        self.failure = error
        self._nursery.cancel_scope.cancel()
