"""Owns the gateway's side of a plan: what each name means now, and the name that each forward is shown with.

Refuses sockets and HTTP (`forwarders/gateway`), and to decide what is forwarded: names lead to what is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from forwarders.gateway.gateway import SUFFIX, Target
from watcher.plan.names import Named, named, resolve, shortest
from watcher.plan.verdicts import Wanted


class GatewayWish(Struct, frozen=True):
    """Where the gateway is to listen, and what names end with (`localhost` among them)."""

    address: str
    port: int
    suffixes: tuple[str, ...] = (SUFFIX,)


class GatewayNames:
    """The plan's names, for a gateway that listens at `wish`."""

    def __init__(self, wish: GatewayWish) -> None:
        self._wish = wish
        self._known: tuple[Named, ...] = ()
        self._shortest: dict[str, str] = {}

    def update(self, forwards: Iterable[Wanted]) -> None:
        """The plan is another."""
        self._known = named(forwards)
        self._shortest = {one.id: shortest(one, self._known) for one in self._known}

    def url(self, ident: str) -> str:
        """A forward's own address at the gateway, "" where it has no name."""
        name = self._shortest.get(ident)
        return "" if name is None else f"http://{name}.{self._wish.suffixes[0]}:{self._wish.port}"

    def meant(self, name: str) -> Sequence[Target]:
        return [self._target(one) for one in resolve(name, self._known)]

    def all(self) -> Sequence[Target]:
        return [self._target(one) for one in self._known]

    def _target(self, one: Named) -> Target:
        where = f" in namespace {one.namespace}" if one.namespace else ""
        return Target(one.id, self._shortest[one.id], f"port {one.ports[0]} of {one.kind} {one.name}{where}")
