"""Owns the gateway: its listener, and for each connection the one question where it goes, by its first request's Host.

Refuses to know what names mean (`Names` does), to choose pods, and to relay: the connection is the forward's from then
on. A browser resolves every *.localhost to this machine (RFC 6761, section 6.3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import trio
from msgspec import Struct

from forwarders.accepting import accept
from forwarders.gateway.client import Client
from forwarders.gateway.errors import RequestError
from forwarders.gateway.head import Request
from forwarders.listeners import Bound
from forwarders.transports.sockets import RawSocket

logger = logging.getLogger("portside.gateway")

# From accept to the end of the first request's head. Browsers open connections ahead of need and open them again.
HEAD_TIMEOUT = 10.0
# Connections whose head is awaited, at once: each may hold 64 KiB. More are closed; those that are served do not count.
MAX_UNREAD = 1024
SUFFIX = "localhost"


class Target(Struct, frozen=True):
    """A forward by its name (without suffix), and what it is, in words."""

    id: str
    name: str
    words: str


class Names(Protocol):
    """What names mean now."""

    def meant(self, name: str) -> Sequence[Target]:
        """The targets that `name` may mean: one, several to choose from, or none."""

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
        self._suffixes = tuple(suffixes)
        self._unread = 0
        self._port = 0

    async def run(self, bound: Bound) -> None:
        """Serves until cancelled; closes the listener first then."""
        self._port = bound.port
        try:
            async with trio.open_nursery() as nursery:
                for listener in bound.sockets:
                    nursery.start_soon(accept, RawSocket(listener), "the gateway", nursery, self._serve)
        finally:
            bound.close()

    async def _serve(self, raw: RawSocket) -> None:
        client = Client(raw.socket)
        if self._unread >= MAX_UNREAD:
            client.reset()
            return
        self._unread += 1
        try:
            with trio.move_on_after(HEAD_TIMEOUT):
                await self._lead(client)
                return
            client.close()
        except RequestError as error:
            logger.info("a connection at the gateway goes nowhere: %s", error)
            await client.say(error)
        except OSError:
            client.close()
        except BaseException:
            client.reset()
            raise
        finally:
            self._unread -= 1

    async def _lead(self, client: Client) -> None:
        request = await client.first()
        if request is None:
            client.close()
            return
        targets = self._meant(request)
        match targets:
            case []:
                error = RequestError(404, f"nothing is called {request.host}; there is")
                await client.say(error, self._links(self._names.all()))
            case [target]:
                if not self._adopt(target.id, client):
                    raise RequestError(503, f"{request.host} is not forwarded any more")
            case _:
                error = RequestError(300, f"{request.host} may mean several things")
                await client.say(error, self._links(targets))

    def _meant(self, request: Request) -> Sequence[Target]:
        """Raises RequestError."""
        for suffix in self._suffixes:
            name = request.host.removesuffix(f".{suffix}")
            if name != request.host:
                return self._names.meant(name)
            if request.host == suffix:
                return ()
        raise RequestError(421, "this answers for names that end in " + ", ".join(f".{one}" for one in self._suffixes))

    def _links(self, targets: Sequence[Target]) -> list[tuple[str, str]]:
        return [(self.url(one), f"{one.name}.{self._suffixes[0]}: {one.words}") for one in targets]

    def url(self, target: Target) -> str:
        return f"http://{target.name}.{self._suffixes[0]}:{self._port}/"
