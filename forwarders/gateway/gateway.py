"""Owns the gateway: its listener, and for each connection the one question where it goes, by its first request's Host.

Refuses to know what names mean (`Names` does), to choose pods, and to relay: the connection is the forward's from then
on. A browser resolves every *.localhost to this machine (RFC 6761, section 6.3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import trio
from msgspec import Struct

from forwarders.accepting import accept
from forwarders.errors import NotHttpError, RequestError
from forwarders.gateway.client import Client
from forwarders.gateway.head import Request
from forwarders.gateway.pages import Link
from forwarders.listeners import Bound
from forwarders.tasks import Tasks, contained, kept
from forwarders.transports.sockets import RawSocket

logger = logging.getLogger("portside.gateway")

# From accept to the end of the first request's head. Browsers open connections ahead of need and open them again.
HEAD_TIMEOUT = 10.0
# Connections whose head is awaited, at once: each may hold 64 KiB. One more costs the oldest of them its place, so that
# those who dawdle harm each other. Those that are served do not count.
MAX_UNREAD = 1024
SUFFIX = "localhost"


class Target(Struct, frozen=True):
    """A forward, and a link that leads to it."""

    id: str
    link: Link


class Names(Protocol):
    """What names mean now."""

    def meant(self, name: str) -> Sequence[Target]:
        """The targets that `name` (without suffix) may mean: one, several to choose from, or none."""

    def all(self) -> Sequence[Target]:
        """Every target."""


Adopt = Callable[[str, Client], bool]


class Gateway:
    """`adopt` hands a connection to the forward with that id, and says whether there is one.

    `suffixes`: what names end with, `localhost` among them.
    """

    def __init__(self, names: Names, adopt: Adopt, suffixes: Sequence[str] = (SUFFIX,)) -> None:
        self._names = names
        self._adopt = adopt
        self._suffixes = tuple(sorted(suffixes, key=len, reverse=True))
        self._unread: dict[Client, trio.CancelScope] = {}  # the oldest first

    async def run(self, bound: Bound) -> None:
        """Serves until cancelled; closes the listener first then."""
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
        client = Client(raw.socket)
        with contained(logger, "a connection at the gateway", lambda _: client.reset()):
            await self._serve_client(client)

    async def _serve_client(self, client: Client) -> None:
        try:
            request = await self._first(client)
            if request is None:
                client.close()
            else:
                await self._lead(client, request)
        except RequestError as error:
            level = logging.WARNING if isinstance(error, NotHttpError) else logging.INFO
            logger.log(level, "a connection at the gateway was turned away: %s", error)
            await client.say(error)
        except OSError:
            client.close()
        except BaseException:
            client.reset()
            raise

    async def _first(self, client: Client) -> Request | None:
        """None where none comes in time, or at all. Raises RequestError, OSError."""
        if len(self._unread) >= MAX_UNREAD:
            next(iter(self._unread.values())).cancel()
        with trio.move_on_after(HEAD_TIMEOUT) as scope:
            self._unread[client] = scope
            try:
                return await client.first()
            finally:
                del self._unread[client]
        logger.info("a connection at the gateway was closed: no request came on it in %.0f s", HEAD_TIMEOUT)
        return None

    async def _lead(self, client: Client, request: Request) -> None:
        """Raises RequestError."""
        if request.host in self._suffixes:
            links = [target.link for target in self._names.all()]
            await client.show(200, "these names are forwarded:" if links else "nothing is forwarded", links)
            return
        match self._meant(request):
            case []:
                links = [target.link for target in self._names.all()]
                await client.say(RequestError(404, f"nothing is called {request.host}; there is"), links)
            case [target]:
                if not self._adopt(target.id, client):
                    raise RequestError(503, f"{request.host} is just not forwarded")
            case targets:
                links = [target.link for target in targets]
                await client.say(RequestError(300, f"{request.host} may mean several things"), links)

    def _meant(self, request: Request) -> list[Target]:
        """Raises RequestError."""
        for suffix in self._suffixes:
            name = request.host.removesuffix(f".{suffix}")
            if name != request.host:
                return list(self._names.meant(name))
        raise RequestError(421, "this answers for names that end in " + ", ".join(f".{one}" for one in self._suffixes))
