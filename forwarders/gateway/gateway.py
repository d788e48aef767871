"""The gateway: reads the first request of a connection, and hands it to the forward that the Host header names.

For the relay a gateway connection is a socket like any other. The gateway changes no byte, and passes on only what
belongs to requests for the first request's Host (`Requests` decides that). `Names` knows what names mean; the forward
chooses the pod. Browsers resolve every *.localhost to this machine (RFC 6761, section 6.3).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from http import HTTPStatus
from typing import Protocol

import trio
from msgspec import Struct

from forwarders.errors import NotHttpError, RequestError
from forwarders.gateway.head import RequestHead
from forwarders.gateway.requests import Requests, UpgradeAnswer
from forwarders.listeners import Bound, accept
from forwarders.tasks import Tasks, contained, kept
from forwarders.transports.sockets import Piece, RawSocket

logger = logging.getLogger("portside.gateway")

# Seconds from accept to the end of the first request's head. Browsers open connections in advance, and again later.
HEAD_TIMEOUT = 10.0
# Connections that wait for their first head at once: each may hold 64 KiB. One more closes the oldest of them, so that
# slow clients harm only each other. Connections that are served do not count.
MAX_UNREAD = 1024
SUFFIX = "localhost"
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
    """Build a complete HTTP response with a page; it closes the connection. `body`: False for HEAD."""
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
    """A client's connection, which is read up to its first request and then relayed, so the pod gets every byte."""

    is_raw = False

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._requests = Requests()
        self._ready: bytes = b""
        self._answer: UpgradeAnswer | None = None
        self._until_answer = trio.CancelScope()
        self._writes = 0

    async def first_request(self) -> RequestHead | None:
        """Read the first request's head; None if the client leaves first. Raises RequestError, OSError; no deadline."""
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
        """Return bytes for the pod, b"" at the end. Raises OSError after a refused request, when the pod is quiet."""
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
        """Whether no more of the pod's answer must be read here."""
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
        """Waits until the pod has sent nothing for QUIET seconds: then earlier requests are answered."""
        writes = -1
        while writes != self._writes:
            writes = self._writes
            await trio.sleep(QUIET)

    async def turn_away(self, reason: str) -> None:
        """Send a page that says why no pod could serve the connection."""
        await self.show_page(503, reason)

    async def show_page(self, status: int, text: str, links: Sequence[GatewayTarget] = ()) -> None:
        """Send a page and close; only close if `status` is 0."""
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


class Names(Protocol):
    """Finds forwards by their current names at the gateway."""

    def meant(self, name: str) -> Sequence[GatewayTarget]:
        """Return the targets that `name` (without suffix) may mean: one, several to choose from, or none."""

    def all(self) -> Sequence[GatewayTarget]:
        """Return every target."""


class Gateway:
    """Serves the gateway's listener. `adopt` hands a connection to the forward with that id; False if there is none.

    `suffixes`: the suffixes of all names, `localhost` among them.
    """

    def __init__(self, names: Names, adopt: Callable[[str, GatewayClient], bool], suffixes: Sequence[str]) -> None:
        self._names = names
        self._adopt = adopt
        self._suffixes = tuple(sorted(suffixes, key=len, reverse=True))
        self._unread: dict[GatewayClient, trio.CancelScope] = {}  # the oldest first

    async def run(self, bound: Bound) -> None:
        """Serve `bound` until cancelled; then close the listener first."""
        try:
            async with trio.open_nursery() as nursery:
                with Tasks(nursery) as tasks:
                    for listener in bound.sockets:
                        serve = partial(accept, RawSocket(listener), "the gateway", tasks, self._serve)
                        nursery.start_soon(kept, logger, "accepting at the gateway", serve)
                    await trio.sleep_forever()
        finally:
            bound.close()

    async def _serve(self, raw: RawSocket) -> None:
        client = GatewayClient(raw.socket)
        with contained(logger, "a connection at the gateway"):
            try:
                request = await self._first_request(client)
                if request is None:
                    client.close()
                else:
                    await self._route(client, request)
            except RequestError as error:
                level = logging.WARNING if isinstance(error, NotHttpError) else logging.INFO
                logger.log(level, "a connection at the gateway was turned away: %s", error)
                await client.show_page(error.status, str(error))
            except OSError:
                client.close()
            except BaseException:
                client.reset()
                raise

    async def _first_request(self, client: GatewayClient) -> RequestHead | None:
        """Reads the first request, within HEAD_TIMEOUT; None if there is none. Raises RequestError, OSError."""
        if len(self._unread) >= MAX_UNREAD:
            next(iter(self._unread.values())).cancel()
        with trio.move_on_after(HEAD_TIMEOUT) as scope:
            self._unread[client] = scope
            try:
                return await client.first_request()
            finally:
                del self._unread[client]
        logger.info("a connection at the gateway was closed: no request came on it in %.0f s", HEAD_TIMEOUT)
        return None

    async def _route(self, client: GatewayClient, request: RequestHead) -> None:
        """Hands the client to the forward that the Host header names. Raises RequestError."""
        if request.host in self._suffixes:
            everything = self._names.all()
            text = "these names are forwarded:" if everything else "nothing is forwarded"
            await client.show_page(200, text, everything)
            return
        match self._meant(request):
            case []:
                await client.show_page(404, f"no forward has the name {request.host}; there is", self._names.all())
            case [target]:
                if not self._adopt(target.id, client):
                    raise RequestError(503, f"{request.host} is not forwarded right now")
            case targets:
                await client.show_page(300, f"{request.host} may mean several things", targets)

    def _meant(self, request: RequestHead) -> list[GatewayTarget]:
        """The forwards that the Host header may name. Raises RequestError if it has no suffix of this gateway."""
        for suffix in self._suffixes:
            name = request.host.removesuffix(f".{suffix}")
            if name != request.host:
                return list(self._names.meant(name))
        raise RequestError(
            421, "this gateway serves only names that end in " + ", ".join(f".{one}" for one in self._suffixes)
        )
