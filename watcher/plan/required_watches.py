"""Which objects must be watched for a plan, and which of them one target needs. Pure.

No cluster-wide rights are needed: labelled objects are looked for in all namespaces only until that is forbidden, and
pods only in namespaces with a forward.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import cast

from msgspec.structs import replace

from watcher.cluster import kinds
from watcher.cluster.kinds import EndpointSlice, Object, Pod, Resource, Service, Workload
from watcher.cluster.store import Key, Watch
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
    """Whether every list that the plan rests on has ended or is forbidden. Other clusters may also be unreachable."""
    parts = per_cluster(facts)
    listed = facts.containers is None or facts.containers.synced
    return listed and all(
        _is_answered(replace(watch, cluster=""), parts[watch.cluster], watch.cluster) for watch in watches
    )


def _is_answered(watch: Watch, facts: Facts, key: str) -> bool:
    problem = facts.cluster.problems.get(watch)
    return facts.cluster.synced(watch) or (problem is not None and (problem.forbidden or bool(key)))


def _of_cluster(facts: Facts) -> set[Watch]:
    if facts.containers is not None:
        return set()
    watches = {
        watch
        for kind in run.kinds_looked_at(facts)
        for watch in run.with_fallback(run.labelled_watch(kind, facts), facts)
    }
    for service in run.services(facts) if Mode.SERVICES in facts.modes else ():
        watches |= set(_related_watches("service", service.metadata.namespace, service))
    namespaces = EntryNamespaces(facts)
    for entry in facts.active_entries:
        if entry.kind != CONTAINER:
            watches |= _of_entry(entry, namespaces, facts)
    return watches


def _of_entry(entry: Entry, namespaces: EntryNamespaces, facts: Facts) -> set[Watch]:
    namespace = namespaces.of(entry)
    targets = (None, *entry_objects(entry, namespace, facts))
    related = {watch for target in targets for watch in _related_watches(entry.kind, namespace, target)}
    return related | {entry_watch(entry, candidate) for candidate in namespaces.candidates(entry)}


# --- the lists beside a target


def related_lists(kind: str, namespace: str, target: Object, facts: Facts) -> RelatedLists:
    """The lists that the target's endpoints are found with. Each watch has objects of one kind only."""
    objects = facts.cluster.objects
    replica_sets = objects.get(Watch(kinds.REPLICA_SET_METADATA, namespace)) if kind == "deployment" else {}
    return RelatedLists(
        pods=cast("Mapping[Key, Pod]", objects.get(_pods(namespace), {})),
        jobs=cast("Iterable[Workload]", objects.get(_jobs(namespace), {}).values() if kind == "cronjob" else ()),
        replica_sets=None if replica_sets is None else cast("Iterable[Resource]", replica_sets.values()),
        slices=[cast("EndpointSlice", item) for watch in _slices(target) for item in objects.get(watch, {}).values()],
    )


def missing_list(kind: str, namespace: str, target: Object | None, facts: Facts) -> Watch | None:
    """The first list that has to end before the target's pods are known. ReplicaSets are not necessary."""
    for watch in _related_watches(kind, namespace, target):
        problem = facts.cluster.problems.get(watch)
        forbidden = problem is not None and problem.forbidden
        if not facts.cluster.synced(watch) and not (watch.kind.metadata_only and forbidden):
            return watch
    return None


def _related_watches(kind: str, namespace: str, target: Object | None) -> tuple[Watch, ...]:
    jobs = (_jobs(namespace),) if kind == "cronjob" else ()
    replica_sets = (Watch(kinds.REPLICA_SET_METADATA, namespace),) if kind == "deployment" else ()
    return (_pods(namespace), *jobs, *replica_sets, *_slices(target))


def _pods(namespace: str) -> Watch:
    return Watch(kinds.POD, namespace)


def _jobs(namespace: str) -> Watch:
    return Watch(kinds.JOB, namespace)


def _slices(target: Object | None) -> tuple[Watch, ...]:
    if not isinstance(target, Service) or target.spec.selector or target.spec.type == "ExternalName":
        return ()
    label = f"kubernetes.io/service-name={target.metadata.name}"
    return (Watch(kinds.ENDPOINT_SLICE, target.metadata.namespace, label_selector=label),)


# --- the objects of entries


def entry_watch(entry: Entry, namespace: str) -> Watch:
    """The watch for the entry's own object."""
    kind = kinds.BY_NAME[entry.kind]
    if entry.selector:
        return Watch(kind, namespace, label_selector=entry.selector)
    return (
        _pods(namespace) if kind is kinds.POD else Watch(kind, namespace, field_selector=f"metadata.name={entry.name}")
    )


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

    def contested(self, entry: Entry) -> tuple[str, ...]:
        """The run's namespaces that have the object, if the user has to choose one; else ()."""
        if self._named(entry):
            return ()
        having = _having(self._of_run, entry, self._facts)
        return having if len(having) > 1 and self._here not in having else ()

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
    """Those with an object that is not another run's; if there are none, those with any object."""
    having = {namespace: there for namespace in sorted(namespaces) if (there := entry_objects(entry, namespace, facts))}
    kind = kinds.BY_NAME[entry.kind]
    own = tuple(
        namespace
        for namespace, there in having.items()
        if not all(run.is_of_another(item, kind, facts) for item in there)
    )
    return own or tuple(having)
