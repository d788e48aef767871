"""Owns the namespace of an entry that names none. Pure."""

from __future__ import annotations

from watcher.config.entries import Entry
from watcher.plan.facts import Facts


def namespace_of(entry: Entry, facts: Facts) -> str:
    """Its own, else -n or the context's, else the run's if it has just one, else default."""
    if entry.namespace or facts.namespace:
        return entry.namespace or facts.namespace
    return next(iter(facts.namespaces)) if len(facts.namespaces) == 1 else "default"
