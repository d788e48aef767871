"""Copies data from the tunnel to the local socket as it arrives.

It runs in the session's task, so it does not wait for a slow client: what the socket has no room for is sent by a task
of the connection's own, and the tunnel's bound holds for what comes meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

from forwarders.tasks import Tasks
from forwarders.transports.sockets import Piece, RawSocket
from forwarders.tunnel import Carrier


class Delivery:
    """Cancels `tasks`, its own among them, when all is delivered or nothing can be; `failure`: why it cannot.

    `on_bytes` is called when some have come, before they go on.
    """

    def __init__(self, tunnel: Carrier, local: RawSocket, tasks: Tasks, on_bytes: Callable[[], None]) -> None:
        self.failure: Exception | None = None
        self._tunnel = tunnel
        self._local = local
        self._tasks = tasks
        self._on_bytes = on_bytes
        self._catching_up = False

    def begin(self) -> None:
        self._tunnel.deliver(self._news, self._tasks)

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
            self._tasks.start(self._catch_up, left)
        elif self._tunnel.finished:
            self._tasks.cancel()

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
            self._local.before_send(pieces)
        return pieces

    def _fail(self, error: Exception) -> None:
        self.failure = error
        self._tasks.cancel()
