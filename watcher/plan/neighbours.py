"""Owns which lists beside a target its pods are found with, and what those hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from watcher.cluster.collection import Key
from watcher.cluster.objects import EndpointSlice, Object, Pod, Service, Workload
from watcher.cluster.store import Watch
from watcher.plan.arrivals import sandboxes
from watcher.plan.endpoints import Neighbours
from watcher.plan.facts import Facts
from watcher.plan.namespaces import jobs_in, pods_in, slices_of


def lists(kind: str, namespace: str, target: Object | None) -> tuple[Watch, ...]:
    """Those that must have been listed."""
    jobs = (jobs_in(namespace),) if kind == "cronjob" else ()
    return (pods_in(namespace), *jobs, *_slices(target))


def neighbours(kind: str, namespace: str, target: Object, facts: Facts) -> Neighbours:
    """The store keeps one kind of object for each watch, so nothing is looked through here."""
    objects = facts.cluster.objects
    return Neighbours(
        pods=cast("Mapping[Key, Pod]", objects.get(pods_in(namespace), {})),
        jobs=cast("Iterable[Workload]", objects.get(jobs_in(namespace), {}).values() if kind == "cronjob" else ()),
        sandboxes=sandboxes(namespace, facts.cluster),
        slices=[cast("EndpointSlice", item) for watch in _slices(target) for item in objects.get(watch, {}).values()],
    )


def _slices(target: Object | None) -> tuple[Watch, ...]:
    if not isinstance(target, Service) or target.spec.selector or target.spec.type == "ExternalName":
        return ()
    return (slices_of(target.metadata.namespace, target.metadata.name),)
