"""Which objects must be watched for a plan, and which of them one target needs. Pure.

No cluster-wide rights are needed: labelled objects are looked for in all namespaces only until that is forbidden, and
pods only in namespaces with a forward.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from msgspec.structs import replace

from watcher.cluster import kinds
from watcher.cluster.kinds import Object, Resource, Service
from watcher.cluster.store import Watch
from watcher.config.entries import CONTAINER, Entry
from watcher.plan import run
from watcher.plan.endpoints import RelatedLists
from watcher.plan.facts import Facts, per_cluster
from watcher.skaffold.modes import Mode


def required_watches(facts: Facts) -> frozenset[Watch]:
    """The watches for these facts in all clusters. The objects of one (a service) may require another (its pods)."""
    return frozenset(
        replace(watch, cluster=key) if key else watch
        for key, part in per_cluster(facts).items()
        for watch in _of_cluster(part)
    )


def is_settled(facts: Facts, watches: frozenset[Watch]) -> bool:
    """Whether every list that the plan rests on is complete or forbidden. Other clusters may also be unreachable.

    A list from before the last deploy is not complete.
    """
    parts = per_cluster(facts)
    listed = facts.containers is None or not facts.containers.is_behind
    return listed and all(
        _is_answered(replace(watch, cluster=""), parts[watch.cluster], watch.cluster) for watch in watches
    )


def _is_answered(watch: Watch, facts: Facts, key: str) -> bool:
    problem = facts.cluster.problems.get(watch)
    return not facts.cluster.is_behind(watch) or (problem is not None and (problem.forbidden or bool(key)))


def _of_cluster(facts: Facts) -> set[Watch]:
    if facts.containers is not None:
        return set()
    watches = {watch for kind in run.kinds_looked_at(facts) for watch in run.watches_of_run(kind, facts)}
    for service in run.services(facts) if Mode.SERVICES in facts.modes else ():
        watches.update(_related_watches("service", service.metadata.namespace, service).values())
    namespaces = EntryNamespaces(facts)
    for entry in facts.active_entries:
        if entry.kind != CONTAINER:
            watches |= _of_entry(entry, namespaces, facts)
    return watches


def _of_entry(entry: Entry, namespaces: EntryNamespaces, facts: Facts) -> set[Watch]:
    namespace = namespaces.of(entry)
    targets = (None, *entry_objects(entry, namespace, facts))
    related = {watch for target in targets for watch in _related_watches(entry.kind, namespace, target).values()}
    return related | {entry_watch(entry, candidate) for candidate in namespaces.candidates(entry)}


# --- the lists beside a target


def related_lists(kind: str, namespace: str, target: Object, facts: Facts) -> RelatedLists:
    """The lists that the target's endpoints are found with, once no list is missing."""
    objects = facts.cluster.objects
    lists: Any = {name: objects.get(watch) for name, watch in _related_watches(kind, namespace, target).items()}
    return RelatedLists(**lists)


def missing_list(kind: str, namespace: str, target: Object | None, facts: Facts) -> Watch | None:
    """The first list that has to end before the target's pods are known. ReplicaSets are not necessary."""
    for watch in _related_watches(kind, namespace, target).values():
        problem = facts.cluster.problems.get(watch)
        forbidden = problem is not None and problem.forbidden
        if not facts.cluster.synced(watch) and not (watch.kind.metadata_only and forbidden):
            return watch
    return None


def _related_watches(kind: str, namespace: str, target: Object | None) -> dict[str, Watch]:
    """The watch that fills each field of RelatedLists."""
    found = {"pods": Watch(kinds.POD, namespace)}
    if kind == "cronjob":
        found["jobs"] = Watch(kinds.JOB, namespace)
    if kind == "deployment":
        found["replica_sets"] = Watch(kinds.REPLICA_SET_METADATA, namespace)
    if isinstance(target, Service) and not target.spec.selector and target.spec.type != "ExternalName":
        label = f"kubernetes.io/service-name={target.metadata.name}"
        found["slices"] = Watch(kinds.ENDPOINT_SLICE, target.metadata.namespace, label_selector=label)
    return found


# --- the objects of entries


def entry_watch(entry: Entry, namespace: str) -> Watch:
    """The watch for the entry's own object."""
    kind = kinds.BY_NAME[entry.kind]
    # The watch for all pods is needed anyway.
    fields = "" if entry.selector or kind is kinds.POD else f"metadata.name={entry.name}"
    return Watch(kind, namespace, label_selector=entry.selector, field_selector=fields)


def entry_objects(entry: Entry, namespace: str, facts: Facts) -> list[Resource]:
    """The objects in this namespace that the entry names or selects."""
    there = facts.cluster.objects.get(entry_watch(entry, namespace), {})
    found = there.values() if entry.selector else [there.get((namespace, entry.name))]
    return [item for item in found if isinstance(item, Resource)]


class EntryNamespaces:
    """The namespaces of entries that name none. Made once for a plan: it looks through the run's objects."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._here = facts.context_namespace or "default"

    def of(self, entry: Entry) -> str:
        """The entry's namespace, else -n, else the run's one that has the object, else the run's only one, else the
        context's.

        If several have the object, the context's counts if it is one of them. (Skaffold skips an entry then,
        kubernetes/portforward/resource_forwarder.go.)
        """
        if entry.kind == CONTAINER:
            return ""
        if named := self._named(entry):
            return named
        having = _having(self._of_run, entry, self._facts)
        if having:
            return self._here if self._here in having else having[0]
        if len(self._of_run) == 1 and not _having(frozenset({self._here}), entry, self._facts):
            return next(iter(self._of_run))
        return self._here

    def contested(self, entry: Entry) -> str:
        """The reason why the user has to choose one of several namespaces that have the object, or ""."""
        having = () if self._named(entry) else _having(self._of_run, entry, self._facts)
        if len(having) < 2 or self._here in having:
            return ""
        return f"{entry.kind} {entry.name or entry.selector} is in namespaces {', '.join(having)}: say which one"

    def candidates(self, entry: Entry) -> frozenset[str]:
        """All namespaces that may have the entry's object."""
        named = self._named(entry)
        return frozenset({named}) if named else self._of_run | {self._here}

    def _named(self, entry: Entry) -> str:
        return entry.namespace or self._facts.namespace

    @cached_property
    def _of_run(self) -> frozenset[str]:
        return run.namespaces(self._facts)


def _having(namespaces: frozenset[str], entry: Entry, facts: Facts) -> tuple[str, ...]:
    """The namespaces with an object that is not another run's; if there are none, those with any object."""
    having = {namespace: there for namespace in sorted(namespaces) if (there := entry_objects(entry, namespace, facts))}
    kind = kinds.BY_NAME[entry.kind]
    own = tuple(
        namespace
        for namespace, there in having.items()
        if not all(run.is_of_another(item, kind, facts) for item in there)
    )
    return own or tuple(having)
