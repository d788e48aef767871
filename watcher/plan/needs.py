"""Owns the answer to: which objects must be watched for a plan of these facts? Pure.

Cluster-wide rights are not needed: services are looked for everywhere only until that is refused, pods only where
something is forwarded.
"""

from __future__ import annotations

from watcher.cluster.store import Snapshot, Watch
from watcher.config.entries import CONTAINER, Entry
from watcher.plan import run
from watcher.plan.facts import Facts
from watcher.plan.namespaces import candidates, jobs_in, namespace_of, pods_in, target_in
from watcher.skaffold.modes import Mode


def needs(facts: Facts) -> frozenset[Watch]:
    """The watches for these facts. What is found by one (a service's namespace) may call for another (its pods)."""
    watches = set(run.service_watches(facts))
    watches |= {pods_in(service.metadata.namespace) for service in run.services(facts)}
    for entry in active_entries(facts):
        if entry.kind != CONTAINER:
            watches |= _for_entry(entry, facts)
    return frozenset(watches)


def settled(facts: Facts, watches: frozenset[Watch]) -> bool:
    """Whether a plan stands on lists that have all ended, or were refused for good reason."""
    return all(facts.cluster.synced(watch) or _refused(watch, facts.cluster) for watch in watches)


def active_entries(facts: Facts) -> tuple[Entry, ...]:
    """The entries that are asked for: those of the command line always, skaffold.yaml's in mode user."""
    return tuple(e for e in facts.entries if e.source != "user" or Mode.USER in facts.modes)


def _for_entry(entry: Entry, facts: Facts) -> set[Watch]:
    namespace = namespace_of(entry, facts)
    watches = {pods_in(namespace), *(target_in(candidate, entry) for candidate in candidates(entry, facts))}
    if entry.kind == "cronjob":
        watches.add(jobs_in(namespace))
    return watches


def _refused(watch: Watch, cluster: Snapshot) -> bool:
    problem = cluster.problems.get(watch)
    return problem is not None and problem.forbidden
