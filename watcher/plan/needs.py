"""Owns the answer to: which objects must be watched for a plan of these facts? Pure.

Cluster-wide rights are not needed: services are looked for everywhere only until that is refused, pods only where
something is forwarded.
"""

from __future__ import annotations

from watcher.cluster import kinds
from watcher.cluster.store import Watch
from watcher.config.entries import CONTAINER, Entry
from watcher.plan.facts import Facts
from watcher.plan.namespaces import namespace_of
from watcher.skaffold.modes import Mode


def needs(facts: Facts) -> frozenset[Watch]:
    """The watches for these facts. What is found by one (a service's namespace) may call for another (its pods)."""
    services = run_services(facts)
    found_in = {namespace for watch in services for namespace, _ in facts.cluster.objects.get(watch, {})}
    watches = set(services) | {pods_in(namespace) for namespace in found_in}
    for entry in active_entries(facts):
        watches |= _for_entry(entry, namespace_of(entry, facts))
    return frozenset(watches)


def active_entries(facts: Facts) -> tuple[Entry, ...]:
    """The entries that are asked for: those of the command line always, skaffold.yaml's in mode user."""
    return tuple(e for e in facts.entries if e.source != "user" or Mode.USER in facts.modes)


def run_services(facts: Facts) -> tuple[Watch, ...]:
    """Where this run's services are looked for."""
    if Mode.SERVICES not in facts.modes or not facts.run_selector:
        return ()
    everywhere = Watch(kinds.SERVICE, "", label_selector=facts.run_selector)
    problem = facts.cluster.problems.get(everywhere)
    if problem is None or not problem.forbidden:
        return (everywhere,)
    # The refused watch stays wanted: it is tried again slowly, and the answer to it must not be forgotten.
    known = sorted(facts.namespaces or {facts.namespace or "default"})
    return (everywhere, *(Watch(kinds.SERVICE, name, label_selector=facts.run_selector) for name in known))


def pods_in(namespace: str) -> Watch:
    return Watch(kinds.POD, namespace)


def target_of(entry: Entry, namespace: str) -> Watch:
    """The watch that holds the entry's own object."""
    if entry.kind == "pod":
        return pods_in(namespace)
    return Watch(kinds.BY_NAME[entry.kind], namespace, field_selector=f"metadata.name={entry.name}")


def jobs_in(namespace: str) -> Watch:
    return Watch(kinds.JOB, namespace)


def _for_entry(entry: Entry, namespace: str) -> set[Watch]:
    if entry.kind == CONTAINER:
        return set()
    watches = {pods_in(namespace), target_of(entry, namespace)}
    if entry.kind == "cronjob":
        watches.add(jobs_in(namespace))
    return watches
