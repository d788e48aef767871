"""Owns the decision: from facts to what is forwarded, what is not, and why. A pure function.

Order is that of Skaffold: user entries, then services; within each the file's order, or namespace, name and port. Equal
facts give an equal plan, in whatever order the cluster's objects came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from watcher.plan.facts import Facts, OwnForward
from watcher.plan.from_entries import from_entries
from watcher.plan.from_services import from_services
from watcher.plan.needs import settled
from watcher.plan.verdicts import Skip, Wanted, skaffold_has_it

__all__ = ["Plan", "Skip", "Wanted", "make_plan", "settled"]


class Plan(Struct, frozen=True):
    """What is wanted and what is not; ids are unique over both."""

    forwards: tuple[Wanted, ...]
    skips: tuple[Skip, ...]


def make_plan(facts: Facts) -> Plan:
    """The plan for these facts."""
    verdicts = [*from_entries(facts), *from_services(facts)]
    verdicts += _others_of_skaffold(facts, verdicts)
    return Plan(
        forwards=tuple(verdict for verdict in verdicts if isinstance(verdict, Wanted)),
        skips=tuple(verdict for verdict in verdicts if isinstance(verdict, Skip)),
    )


def _others_of_skaffold(facts: Facts, verdicts: Iterable[Wanted | Skip]) -> Iterator[Skip]:
    """Forwards that Skaffold holds for what this plan knows nothing of: other modes', another configuration's."""
    shown = {verdict.reason for verdict in verdicts if isinstance(verdict, Skip) and verdict.source == "skaffold"}
    for own in sorted(facts.own_forwards, key=_place):
        if skaffold_has_it(own) not in shown:
            yield Skip(
                id=f"skaffold/{own.namespace}/{own.kind}/{own.name}/{own.container}/{own.port}/{own.address}",
                source="skaffold",
                resource_type=own.kind,
                resource_name=own.name,
                namespace=own.namespace,
                container=own.container,
                remote_port=own.port,
                reason=skaffold_has_it(own),
            )


def _place(own: OwnForward) -> tuple[str, int]:
    return own.address, own.local_port
