"""Owns what a plan says of one thing: Wanted or Skip, each with its reason, and what both kinds of source share.

Refuses to choose between them.
"""

from __future__ import annotations

from msgspec import Struct

from forwarders.spec import Ask, Endpoint, ForwardSpec, PortWish
from watcher.cluster.store import Watch
from watcher.plan.facts import Facts, OwnForward


class Wanted(Struct, frozen=True, kw_only=True):
    """One forward that shall be. `waiting_for`, `broken`: see endpoints.Found. `because`: the rule that chose it."""

    id: str
    source: str
    resource_type: str
    resource_name: str
    namespace: str
    container: str
    remote_port: int | str
    spec: ForwardSpec
    endpoints: tuple[Endpoint, ...]
    waiting_for: str
    broken: str
    because: str


class Skip(Struct, frozen=True, kw_only=True):
    """Something that is not forwarded, and why."""

    id: str
    source: str
    resource_type: str
    resource_name: str
    namespace: str
    container: str
    remote_port: int | str
    reason: str


def spec(ident: str, group: str, address: str, wish: PortWish, facts: Facts, *, eager: bool = False) -> ForwardSpec:
    """`eager`: a pod that is Running will do at once."""
    waiting = facts.waiting
    strict = facts.strict_ports and wish.number
    return ForwardSpec(
        id=ident,
        address=address,
        port=PortWish(Ask.DEMANDED, wish.number) if strict else wish,
        group=group,
        hold=waiting.hold,
        held=waiting.held,
        linger=waiting.linger,
        patience=0.0 if eager else waiting.patience,
    )


def held_by_skaffold(
    facts: Facts, kind: str, name: str, namespace: str, ports: tuple[int | str, ...]
) -> OwnForward | None:
    """Skaffold's own forward for one of these spellings of a port. Its namespace is blank where the context's is."""
    for own in facts.own_forwards:
        if (own.kind, own.name) == (kind, name) and own.port in ports and own.namespace in {namespace, ""}:
            return own
    return None


def skaffold_has_it(own: OwnForward) -> str:
    place = f"[{own.address}]" if ":" in own.address else own.address
    return f"Skaffold forwards it itself, to {place}:{own.local_port}; start it with --port-forward=off"


def unlisted(watch: Watch, facts: Facts) -> tuple[str, bool]:
    """Why a watch that has no objects yet has none, and whether that is a refusal: nothing comes of waiting for it."""
    problem = facts.cluster.problems.get(watch)
    if problem is None:
        return f"listing {watch.kind.plural} in namespace {watch.namespace}", False
    return problem.text, problem.forbidden
