"""Owns the namespace of an entry that names none. Pure."""

from __future__ import annotations

from functools import cached_property

from watcher.cluster import kinds
from watcher.cluster.kinds import Resource
from watcher.cluster.store import Watch
from watcher.config.entries import CONTAINER, Entry
from watcher.plan import run
from watcher.plan.facts import Facts


class Namespaces:
    """Where the entries of one plan are; made once for it, since the run's objects are looked through for the first."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._here = facts.context_namespace or "default"

    def of(self, entry: Entry) -> str:
        """Its own, else -n, else the one of the run's that holds the object, else the run's one, else the context's.

        Of several that hold it the context's, where that is among them (Skaffold skips an entry where there are
        several, kubernetes/portforward/resource_forwarder.go).
        """
        if entry.kind == CONTAINER:
            return ""
        if said := self._said(entry):
            return said
        holding = _holding(self._of_run, entry, self._facts)
        if holding:
            return self._here if self._here in holding else holding[0]
        if len(self._of_run) == 1 and not _holding(frozenset({self._here}), entry, self._facts):
            return next(iter(self._of_run))
        return self._here

    def contested(self, entry: Entry) -> tuple[str, ...]:
        """The run's namespaces that hold the object, where it has to be said which is meant; () where it is clear."""
        if self._said(entry):
            return ()
        holding = _holding(self._of_run, entry, self._facts)
        return holding if len(holding) > 1 and self._here not in holding else ()

    def candidates(self, entry: Entry) -> frozenset[str]:
        """Where the entry's object may be."""
        said = self._said(entry)
        return frozenset({said}) if said else self._of_run | {self._here}

    def _said(self, entry: Entry) -> str:
        return entry.namespace or self._facts.namespace

    @cached_property
    def _of_run(self) -> frozenset[str]:
        return run.namespaces(self._facts)


def pods_in(namespace: str) -> Watch:
    return Watch(kinds.POD, namespace)


def jobs_in(namespace: str) -> Watch:
    return Watch(kinds.JOB, namespace)


def replica_sets_in(namespace: str) -> Watch:
    return Watch(kinds.REPLICA_SET_METADATA, namespace)


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
