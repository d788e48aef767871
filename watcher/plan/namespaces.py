"""Owns the namespace of an entry that names none. Pure."""

from __future__ import annotations

from watcher.cluster import kinds
from watcher.cluster.store import Watch
from watcher.config.entries import CONTAINER, Entry
from watcher.plan import run
from watcher.plan.facts import Facts


def namespace_of(entry: Entry, facts: Facts) -> str:
    """Its own, else -n, else the one of the run's that holds the object, else the run's one, else the context's.

    Skaffold skips an entry where there are several (kubernetes/portforward/resource_forwarder.go).
    """
    if entry.namespace or facts.namespace:
        return entry.namespace or facts.namespace
    holding = [namespace for namespace in candidates(entry, facts) if _holds(namespace, entry, facts)]
    if holding:
        return holding[0]
    run_namespaces = run.namespaces(facts)
    return next(iter(run_namespaces)) if len(run_namespaces) == 1 else facts.context_namespace or "default"


def candidates(entry: Entry, facts: Facts) -> tuple[str, ...]:
    """Where the entry's object may be, the likeliest first."""
    if entry.namespace or facts.namespace:
        return (entry.namespace or facts.namespace,)
    return tuple(dict.fromkeys([*sorted(run.namespaces(facts)), facts.context_namespace or "default"]))


def pods_in(namespace: str) -> Watch:
    return Watch(kinds.POD, namespace)


def jobs_in(namespace: str) -> Watch:
    return Watch(kinds.JOB, namespace)


def target_in(namespace: str, entry: Entry) -> Watch:
    """The watch that would hold the entry's own object."""
    if entry.kind == "pod":
        return pods_in(namespace)
    return Watch(kinds.BY_NAME[entry.kind], namespace, field_selector=f"metadata.name={entry.name}")


def _holds(namespace: str, entry: Entry, facts: Facts) -> bool:
    if entry.kind == CONTAINER:
        return False
    return (namespace, entry.name) in facts.cluster.objects.get(target_in(namespace, entry), {})
