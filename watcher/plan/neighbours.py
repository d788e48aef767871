"""Owns which lists beside a target its pods are found with, and what those hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from watcher.cluster.kinds import EndpointSlice, Object, Pod, Resource, Service, Workload
from watcher.cluster.store import Key, Watch
from watcher.plan.endpoints import Neighbours
from watcher.plan.facts import Facts
from watcher.plan.namespaces import jobs_in, pods_in, replica_sets_in, slices_of


def lists(kind: str, namespace: str, target: Object | None) -> tuple[Watch, ...]:
    """Those that are needed."""
    jobs = (jobs_in(namespace),) if kind == "cronjob" else ()
    replica_sets = (replica_sets_in(namespace),) if kind == "deployment" else ()
    return (pods_in(namespace), *jobs, *replica_sets, *_slices(target))


def unlisted_of(kind: str, namespace: str, target: Object | None, facts: Facts) -> Watch | None:
    """The first of them that has to be listed before the pods are known. ReplicaSets can be done without."""
    for watch in lists(kind, namespace, target):
        problem = facts.cluster.problems.get(watch)
        refused = problem is not None and problem.forbidden
        if not facts.cluster.synced(watch) and not (watch.kind.metadata_only and refused):
            return watch
    return None


def neighbours(kind: str, namespace: str, target: Object, facts: Facts) -> Neighbours:
    """The store keeps one kind of object for each watch, so nothing is looked through here."""
    objects = facts.cluster.objects
    return Neighbours(
        pods=cast("Mapping[Key, Pod]", objects.get(pods_in(namespace), {})),
        jobs=cast("Iterable[Workload]", objects.get(jobs_in(namespace), {}).values() if kind == "cronjob" else ()),
        replica_sets=_replica_sets(namespace, facts) if kind == "deployment" else (),
        slices=[cast("EndpointSlice", item) for watch in _slices(target) for item in objects.get(watch, {}).values()],
    )


def _replica_sets(namespace: str, facts: Facts) -> Iterable[Resource] | None:
    watch = replica_sets_in(namespace)
    found = facts.cluster.objects.get(watch)
    return None if found is None else cast("Iterable[Resource]", found.values())


def _slices(target: Object | None) -> tuple[Watch, ...]:
    if not isinstance(target, Service) or target.spec.selector or target.spec.type == "ExternalName":
        return ()
    return (slices_of(target.metadata.namespace, target.metadata.name),)
