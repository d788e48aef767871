"""Owns the answer to: which objects must be watched for a plan of these facts? Pure.

Cluster-wide rights are not needed: labelled objects are looked for everywhere only until that is refused, pods only
where something is forwarded.
"""

from __future__ import annotations

from watcher.cluster.store import Snapshot, Watch
from watcher.config.entries import CONTAINER, Entry
from watcher.plan import run
from watcher.plan.facts import Facts
from watcher.plan.namespaces import Namespaces, target_in
from watcher.plan.neighbours import lists
from watcher.skaffold.modes import Mode


def needs(facts: Facts) -> frozenset[Watch]:
    """The watches for these facts. What is found by one (a service's namespace) may call for another (its pods)."""
    if facts.containers is not None:
        return frozenset()
    watches, namespaces = set(run.watches(facts)), Namespaces(facts)
    for service in run.services(facts) if Mode.SERVICES in facts.modes else ():
        watches |= set(lists("service", service.metadata.namespace, service))
    for entry in facts.active_entries:
        if entry.kind != CONTAINER:
            watches |= _for_entry(entry, namespaces, facts)
    return frozenset(watches)


def settled(facts: Facts, watches: frozenset[Watch]) -> bool:
    """Whether a plan stands on lists that have all ended, or were refused for good reason."""
    listed = facts.containers is None or facts.containers.synced
    return listed and all(facts.cluster.synced(watch) or _refused(watch, facts.cluster) for watch in watches)


def _for_entry(entry: Entry, namespaces: Namespaces, facts: Facts) -> set[Watch]:
    namespace = namespaces.of(entry)
    there = facts.cluster.objects.get(target_in(namespace, entry), {})
    targets = there.values() if entry.selector else [there.get((namespace, entry.name))]
    beside = {watch for target in (None, *targets) for watch in lists(entry.kind, namespace, target)}
    return beside | {target_in(candidate, entry) for candidate in namespaces.candidates(entry)}


def _refused(watch: Watch, cluster: Snapshot) -> bool:
    problem = cluster.problems.get(watch)
    return problem is not None and problem.forbidden
