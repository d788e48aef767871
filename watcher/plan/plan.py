"""Owns the decision: from facts to what is forwarded, what is not, and why. A pure function.

Order is that of Skaffold: user entries, then services; within each the file's order, or namespace, name and port. Equal
facts give an equal plan, in whatever order the cluster's objects came.
"""

from __future__ import annotations

from msgspec import Struct

from watcher.plan.facts import Facts
from watcher.plan.from_entries import from_entries
from watcher.plan.from_services import from_services
from watcher.plan.verdicts import Skip, Wanted

__all__ = ["Plan", "Skip", "Wanted", "make_plan"]


class Plan(Struct, frozen=True):
    """What is wanted and what is not; ids are unique over both."""

    forwards: tuple[Wanted, ...]
    skips: tuple[Skip, ...]


def make_plan(facts: Facts) -> Plan:
    """The plan for these facts."""
    verdicts = [*from_entries(facts), *from_services(facts)]
    return Plan(
        forwards=tuple(verdict for verdict in verdicts if isinstance(verdict, Wanted)),
        skips=tuple(verdict for verdict in verdicts if isinstance(verdict, Skip)),
    )
