"""The gateway's listener: hands each connection to the forward that its first request's Host names.

`Names` knows what names mean; the forward chooses the pod and relays. Browsers resolve every *.localhost to this
machine (RFC 6761, section 6.3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import trio

from forwarders.errors import NotHttpError, RequestError
from forwarders.gateway.client import GatewayClient, GatewayTarget
from forwarders.gateway.head import RequestHead
from forwarders.listeners import Bound, accept
from forwarders.tasks import Tasks, contained, kept
from forwarders.transports.sockets import RawSocket

logger = logging.getLogger("portside.gateway")

# Seconds from accept to the end of the first request's head. Browsers open connections in advance, and again later.
HEAD_TIMEOUT = 10.0
# Connections that wait for their first head at once: each may hold 64 KiB. One more closes the oldest of them, so that
# slow clients harm only each other. Connections that are served do not count.
MAX_UNREAD = 1024
SUFFIX = "localhost"


class Names(Protocol):
    """The current names of forwards."""

    def meant(self, name: str) -> Sequence[GatewayTarget]:
        """The targets that `name` (without suffix) may mean: one, several to choose from, or none."""

    def all(self) -> Sequence[GatewayTarget]:
        """Every target."""


Adopt = Callable[[str, GatewayClient], bool]


class Gateway:
    """`adopt` hands a connection to the forward with that id; False if there is no such forward.

    `suffixes`: the suffixes of all names, `localhost` among them.
    """

    def __init__(self, names: Names, adopt: Adopt, suffixes: Sequence[str] = (SUFFIX,)) -> None:
        self._names = names
        self._adopt = adopt
        self._suffixes = tuple(sorted(suffixes, key=len, reverse=True))
        self._unread: dict[GatewayClient, trio.CancelScope] = {}  # the oldest first

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
        """None if there is none in time. Raises RequestError, OSError."""
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
        everything = self._names.all()
        if request.host in self._suffixes:
            text = "these names are forwarded:" if everything else "nothing is forwarded"
            await client.show_page(200, text, everything)
            return
        match self._meant(request):
            case []:
                await client.show_page(404, f"no forward has the name {request.host}; there is", everything)
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
