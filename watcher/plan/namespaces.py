"""Owns the namespace of an entry that names none. Pure."""

from __future__ import annotations

from watcher.cluster import kinds
from watcher.cluster.objects import Resource
from watcher.cluster.store import Watch
from watcher.config.entries import CONTAINER, Entry
from watcher.plan import run
from watcher.plan.facts import Facts


def namespace_of(entry: Entry, facts: Facts) -> str:
    """Its own, else -n, else the one of the run's that holds the object, else the run's one, else the context's.

    Of several that hold it the context's, where that is among them (Skaffold skips an entry where there are several,
    kubernetes/portforward/resource_forwarder.go).
    """
    if entry.kind == CONTAINER:
        return ""
    if entry.namespace or facts.namespace:
        return entry.namespace or facts.namespace
    run_namespaces, here = run.namespaces(facts), facts.context_namespace or "default"
    holding = _holding(run_namespaces, entry, facts)
    if holding:
        return here if here in holding else holding[0]
    if len(run_namespaces) == 1 and not _holding(frozenset({here}), entry, facts):
        return next(iter(run_namespaces))
    return here


def contested(entry: Entry, facts: Facts) -> tuple[str, ...]:
    """The run's namespaces that hold the object, where it has to be said which one is meant; () where it is clear."""
    if entry.namespace or facts.namespace:
        return ()
    holding = _holding(run.namespaces(facts), entry, facts)
    return holding if len(holding) > 1 and (facts.context_namespace or "default") not in holding else ()


def candidates(entry: Entry, facts: Facts) -> tuple[str, ...]:
    """Where the entry's object may be, the likeliest first."""
    if entry.namespace or facts.namespace:
        return (entry.namespace or facts.namespace,)
    return tuple(dict.fromkeys([*sorted(run.namespaces(facts)), facts.context_namespace or "default"]))


def pods_in(namespace: str) -> Watch:
    return Watch(kinds.POD, namespace)


def jobs_in(namespace: str) -> Watch:
    return Watch(kinds.JOB, namespace)


def slices_of(namespace: str, service: str) -> Watch:
    return Watch(kinds.ENDPOINT_SLICE, namespace, label_selector=f"kubernetes.io/service-name={service}")


def target_in(namespace: str, entry: Entry) -> Watch:
    """The watch that would hold the entry's own object."""
    if entry.selector:
        return Watch(kinds.BY_NAME[entry.kind], namespace, label_selector=entry.selector)
    if entry.kind == "pod":
        return pods_in(namespace)
    return Watch(kinds.BY_NAME[entry.kind], namespace, field_selector=f"metadata.name={entry.name}")


def _holding(namespaces: frozenset[str], entry: Entry, facts: Facts) -> tuple[str, ...]:
    """Those with an object that is not another run's; where all are, those all the same."""
    holding = {namespace: there for namespace in sorted(namespaces) if (there := _targets(namespace, entry, facts))}
    kind = kinds.BY_NAME[entry.kind]
    own = tuple(
        namespace
        for namespace, there in holding.items()
        if not all(run.is_of_another(item, kind, facts) for item in there)
    )
    return own or tuple(holding)


def _targets(namespace: str, entry: Entry, facts: Facts) -> list[Resource]:
    there = facts.cluster.objects.get(target_in(namespace, entry), {})
    found = there.values() if entry.selector else [there.get((namespace, entry.name))]
    return [item for item in found if isinstance(item, Resource)]
