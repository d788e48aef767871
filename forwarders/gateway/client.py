"""A client's connection at the gateway, and the pages that the gateway itself answers with.

For the relay it is a socket like any other. It changes no byte, and passes on only what belongs to requests for the
first request's Host (`Requests` decides that).
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence
from html import escape
from http import HTTPStatus

import trio
from msgspec import Struct

from forwarders.gateway.head import RequestHead
from forwarders.gateway.requests import Requests, UpgradeAnswer
from forwarders.transports.sockets import Piece, RawSocket

# Seconds to send a page and to read what the client still sends, so that no reset overtakes the page.
PAGE_TIMEOUT = 2.0
# Seconds of the pod's silence after which all answers to requests before a refused one count as sent.
QUIET = 0.25
# Steps of `Requests` until other tasks run: 16 heads, which take 2 ms.
STEPS_A_TURN = 512

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>:root{{color-scheme:light dark}}
body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}}</style></head>
<body><main><h1>{title}</h1><p>{text}</p>{links}</main></body></html>
"""


class GatewayTarget(Struct, frozen=True):
    """A forward, by id, and the link to it on a page. `url`: "" if it has no name."""

    id: str
    url: str
    text: str


def page(status: int, text: str, links: Sequence[GatewayTarget] = (), *, body: bool = True) -> bytes:
    """A complete response after which the connection is closed. `body`: False for HEAD."""
    phrase = HTTPStatus(status).phrase
    items = "".join(f"<li>{_item(link)}</li>" for link in links)
    title = "portside" if status == HTTPStatus.OK else f"portside: {escape(phrase)}"
    listed = f"<ul>{items}</ul>" if items else ""
    shown = _PAGE.format(title=title, text=escape(text), links=listed).encode()
    retry = "Retry-After: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(shown)}\r\n"
        "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\nX-Content-Type-Options: nosniff\r\n"
        f"Cache-Control: no-store\r\nConnection: close\r\n{retry}\r\n"
    )
    return head.encode() + (shown if body else b"")


def _item(link: GatewayTarget) -> str:
    text = escape(link.text)
    return f'<a href="{escape(link.url)}">{text}</a>' if link.url else text


class GatewayClient(RawSocket):
    """`first_request` reads the first request's head; `receive` then returns it again, so the pod gets every byte."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._requests = Requests()
        self._ready: bytes = b""
        self._answer: UpgradeAnswer | None = None
        self._until_answer = trio.CancelScope()
        self._writes = 0

    async def first_request(self) -> RequestHead | None:
        """None if the client leaves before it. Raises RequestError, OSError; the caller sets the deadline."""
        while data := await super().receive():
            self._ready += self._requests.feed(data, STEPS_A_TURN)
            if self._requests.first is not None:
                self._answer = UpgradeAnswer() if self._requests.undecided else None
                return self._requests.first
            if self._requests.refused is not None:
                raise self._requests.refused
            await trio.lowlevel.checkpoint()
        return None

    async def receive(self) -> bytes:
        """Bytes for the pod, b"" at the end. Raises OSError after a refused request, when the pod is quiet."""
        while not self._ready:
            if self._requests.refused is not None:
                await self._wait_quiet()
                raise ConnectionAbortedError(errno.ECONNABORTED, str(self._requests.refused))
            if self._requests.more:
                await trio.lowlevel.checkpoint()
                self._ready = self._requests.feed(b"", STEPS_A_TURN)
                continue
            if self._requests.undecided:
                # The pod's answer may come before the client's next bytes: it releases the bytes that were kept.
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

    @property
    def may_splice(self) -> bool:
        """Not while the pod's answer must be read."""
        return self._answer is None

    def before_send(self, pieces: list[Piece]) -> None:
        """Reads the pod's answer to a requested upgrade: what the client sends next is that protocol, or requests."""
        self._writes += 1
        agreed = None if self._answer is None else self._answer.feed(b"".join(pieces))
        if agreed is not None:
            self._answer = None
            self._ready += self._requests.upgraded(agreed=agreed, steps=STEPS_A_TURN)
            self._until_answer.cancel()

    async def _wait_quiet(self) -> None:
        """Lets the answers to earlier requests arrive."""
        writes = -1
        while writes != self._writes:
            writes = self._writes
            await trio.sleep(QUIET)

    async def turn_away(self, reason: str) -> None:
        """No pod could serve the connection."""
        await self.show_page(503, reason)

    async def show_page(self, status: int, text: str, links: Sequence[GatewayTarget] = ()) -> None:
        """Sends a page and closes; only closes if `status` is 0."""
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
