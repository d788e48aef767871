"""Owns a client's connection at the gateway: read through `Requests`, else a socket like any other to what relays it.

Refuses to change a byte on its way, and to let one go on that is not known to be for the first request's Host.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

import trio

from forwarders.gateway.errors import RequestError
from forwarders.gateway.head import Request
from forwarders.gateway.pages import page
from forwarders.gateway.requests import Answer, Requests
from forwarders.transports.sockets import Piece, RawSocket

# To send an error page, and to read what still comes so that no reset overtakes it.
PAGE_TIMEOUT = 2.0


class Client(RawSocket):
    """`first` reads the first request's head, which `receive` gives again: the pod gets all that came."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._requests = Requests()
        self._ready: bytes = b""
        self._answer: Answer | None = None
        self._answered = trio.Event()

    async def first(self) -> Request | None:
        """None where the client has left without a word. Raises RequestError, OSError; deadlines are the caller's."""
        while data := await super().receive():
            self._ready += self._requests.feed(data)
            if self._requests.first is not None:
                self._answer = Answer() if self._requests.undecided else None
                return self._requests.first
            if self._requests.refused is not None:
                raise self._requests.refused
            await trio.lowlevel.checkpoint()
        return None

    async def receive(self) -> bytes:
        """What may go on; b"" at the end, and where something came that may not: then the answers still come."""
        while not self._ready:
            if self._requests.undecided:
                await self._answered.wait()
            elif self._requests.refused is not None:
                return b""
            else:
                data = await super().receive()
                if not data:
                    return b""
                self._ready = self._requests.feed(data)
                if not self._ready:
                    await trio.lowlevel.checkpoint()
        ready, self._ready = self._ready, b""
        return ready

    async def send_pieces(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            self._decide(piece)
        await super().send_pieces(pieces)

    def _decide(self, piece: Piece) -> None:
        """Whether the pod agrees to the WebSocket that was asked for; what comes next is one, or more requests."""
        if self._answer is None:
            return
        agreed = self._answer.feed(bytes(piece))
        if agreed is not None:
            self._answer = None
            self._ready += self._requests.upgraded(agreed=agreed)
            self._answered.set()

    async def turn_away(self, reason: str) -> None:
        """Nothing could serve it."""
        await self.say(RequestError(503, reason))

    async def say(self, error: RequestError, links: Sequence[tuple[str, str]] = ()) -> None:
        """Answer with a page, and close; just close where the error has no status."""
        with contextlib.suppress(OSError), trio.move_on_after(PAGE_TIMEOUT):
            if error.status:
                first = self._requests.first
                await self.send(page(error.status, str(error), links, body=first is None or first.method != "HEAD"))
                self.shutdown_writing()
                while await super().receive():
                    await trio.lowlevel.checkpoint()
        self.close()
