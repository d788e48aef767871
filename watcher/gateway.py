"""Owns the gateway's side of a plan: what each name means now, and the name that each forward is shown with.

Refuses sockets and HTTP (`forwarders/gateway`), and to decide what is forwarded: names lead to what is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from forwarders.gateway.gateway import SUFFIX, Target
from forwarders.gateway.pages import Link
from watcher.plan.names import HostEntry, Known, by_name, named, resolve, shortest
from watcher.plan.verdicts import PlannedForward


class GatewayRequest(Struct, frozen=True):
    """Where the gateway is to listen, and what names end with (`localhost` among them). `origin`: who asked for it."""

    address: str
    port: int
    suffixes: tuple[str, ...] = (SUFFIX,)
    origin: str = ""


class GatewayNames:
    """The plan's names, for a gateway that listens at `request`."""

    def __init__(self, request: GatewayRequest) -> None:
        self._request = request
        self._named: tuple[HostEntry, ...] = ()
        self._known: Known = {}
        self._urls: dict[str, str] = {}

    def update(self, forwards: Iterable[PlannedForward]) -> set[str]:
        """The plan is another. The forwards whose name is another now."""
        found = named(forwards)
        if found == self._named:
            return set()
        before = self._urls
        self._named, self._known = found, by_name(found)
        self._urls = {one.id: url for one in found if (url := self._url(one))}
        return {ident for ident in before.keys() | self._urls.keys() if before.get(ident) != self._urls.get(ident)}

    def url(self, ident: str) -> str:
        """A forward's own address at the gateway, "" where it has no name."""
        return self._urls.get(ident, "")

    def meant(self, name: str) -> Sequence[Target]:
        return [self._target(one) for one in resolve(name, self._known)]

    def all(self) -> Sequence[Target]:
        return [self._target(one) for one in self._named]

    def _url(self, one: HostEntry) -> str:
        name = shortest(one, self._known)
        return f"http://{name}.{self._request.suffixes[0]}:{self._request.port}" if name else ""

    def _target(self, one: HostEntry) -> Target:
        url = self.url(one.id)
        port = f"port {one.ports[0]} of " if one.ports else ""
        where = f" in namespace {one.namespace}" if one.namespace else ""
        words = f"{port}{one.kind} {one.name}{where}"
        return Target(one.id, Link(url, f"{url}: {words}" if url else f"{words}, which has no name of its own"))
