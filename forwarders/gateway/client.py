"""Owns a client's connection at the gateway: read through `Requests`, else a socket like any other to what relays it.

Refuses to change a byte on its way, and to let one go on that is not known to be for the first request's Host.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence

import trio

from forwarders.errors import RequestError
from forwarders.gateway.head import Request
from forwarders.gateway.pages import Link, page
from forwarders.gateway.requests import Answer, Requests
from forwarders.transports.sockets import Piece, RawSocket

# To send an error page, and to read what still comes so that no reset overtakes it.
PAGE_TIMEOUT = 2.0
# The pod's silence after which the answers to what went before a refused request are taken to be over.
QUIET = 0.25
# Of a read that is full of requests of one line: 16 heads take 2 ms, then others have a turn.
STEPS_A_TURN = 512


class Client(RawSocket):
    """`first` reads the first request's head, which `receive` gives again: the pod gets all that came."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._requests = Requests()
        self._ready: bytes = b""
        self._answer: Answer | None = None
        self._until_answer = trio.CancelScope()
        self._writes = 0

    async def first(self) -> Request | None:
        """None where the client has left without a word. Raises RequestError, OSError; deadlines are the caller's."""
        while data := await super().receive():
            self._ready += self._requests.feed(data, STEPS_A_TURN)
            if self._requests.first is not None:
                self._answer = Answer() if self._requests.undecided else None
                return self._requests.first
            if self._requests.refused is not None:
                raise self._requests.refused
            await trio.lowlevel.checkpoint()
        return None

    async def receive(self) -> bytes:
        """What may go on, b"" at the end. Raises OSError, once the pod is quiet, where something came that may not."""
        while not self._ready:
            if self._requests.refused is not None:
                await self._quiet()
                raise ConnectionAbortedError(errno.ECONNABORTED, str(self._requests.refused))
            if self._requests.more:
                await trio.lowlevel.checkpoint()
                self._ready = self._requests.feed(b"", STEPS_A_TURN)
                continue
            if self._requests.undecided:
                # The pod's answer may come first: then what was kept goes on.
                with trio.CancelScope() as self._until_answer:
                    data = await super().receive()
                if self._until_answer.cancelled_caught:
                    continue
            else:
                data = await super().receive()
            if not data:
                return b""
            self._ready = self._requests.feed(data, STEPS_A_TURN)
            if not self._ready:
                await trio.lowlevel.checkpoint()
        ready, self._ready = self._ready, b""
        return ready

    def before_send(self, pieces: list[Piece]) -> None:
        self._writes += 1
        if self._answer is not None:
            self._decide(b"".join(pieces))

    def _decide(self, data: bytes) -> None:
        """Whether the pod agrees to the protocol that was asked for; what comes next is that, or more requests."""
        agreed = None if self._answer is None else self._answer.feed(data)
        if agreed is not None:
            self._answer = None
            self._ready += self._requests.upgraded(agreed=agreed, steps=STEPS_A_TURN)
            self._until_answer.cancel()

    async def _quiet(self) -> None:
        """Answers to what went before still come."""
        writes = -1
        while writes != self._writes:
            writes = self._writes
            await trio.sleep(QUIET)

    async def turn_away(self, reason: str) -> None:
        """Nothing could serve it."""
        await self.say(RequestError(503, reason))

    async def say(self, error: RequestError, links: Sequence[Link] = ()) -> None:
        """Answer with a page, and close; just close where the error has no status."""
        await self.show(error.status, str(error), links)

    async def show(self, status: int, text: str, links: Sequence[Link] = ()) -> None:
        """The same without an error."""
        try:
            with contextlib.suppress(OSError), trio.move_on_after(PAGE_TIMEOUT):
                if status:
                    first = self._requests.first
                    await self.send(page(status, text, links, body=first is None or first.method != "HEAD"))
                    self.shutdown_writing()
                    while await super().receive():
                        await trio.lowlevel.checkpoint()
        finally:
            self.close()
