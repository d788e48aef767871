"""Owns the decision: from facts to what is forwarded, what is not, and why. A pure function.

Order is that of Skaffold: user entries, then services, then pods; within each the file's order, or namespace, name and
port. Equal facts give an equal plan, in whatever order the cluster's objects came.
"""

from __future__ import annotations

from msgspec import Struct

from watcher.plan.facts import Facts
from watcher.plan.from_containers import published_beside
from watcher.plan.from_entries import from_entries
from watcher.plan.from_pods import from_pods
from watcher.plan.from_services import from_services
from watcher.plan.verdicts import NotRequested, PlannedForward, Published, ResourceRef, Skip, Verdict

__all__ = ["NotRequested", "Plan", "PlannedForward", "Published", "ResourceRef", "Skip", "Verdict", "make_plan"]


class Plan(Struct, frozen=True):
    """What is wanted, what is not, what was seen and not asked for, what others forward; ids are unique over all."""

    forwards: tuple[PlannedForward, ...] = ()
    skips: tuple[Skip, ...] = ()
    passed: tuple[NotRequested, ...] = ()
    published: tuple[Published, ...] = ()


def make_plan(facts: Facts) -> Plan:
    """The plan for these facts."""
    verdicts: list[Verdict] = [*from_entries(facts), *from_services(facts), *from_pods(facts), *published_beside(facts)]
    return Plan(
        forwards=tuple(verdict for verdict in verdicts if isinstance(verdict, PlannedForward)),
        skips=tuple(verdict for verdict in verdicts if isinstance(verdict, Skip)),
        passed=tuple(verdict for verdict in verdicts if isinstance(verdict, NotRequested)),
        published=tuple(verdict for verdict in verdicts if isinstance(verdict, Published)),
    )
