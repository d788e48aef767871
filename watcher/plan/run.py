"""Owns what of the cluster belongs to the run: its services, and the namespaces it uses. Pure.

Services of every run are watched, and told apart here: a run that changes its id relabels its services one by one, and
a watch for one id alone would see them vanish and come again.
"""

from __future__ import annotations

from watcher.cluster import kinds
from watcher.cluster.objects import RUN_ID_LABEL, Object, Service
from watcher.cluster.store import Watch
from watcher.plan.facts import Facts
from watcher.skaffold.modes import Mode

EVERYWHERE = Watch(kinds.SERVICE, "", label_selector=RUN_ID_LABEL)


def service_watches(facts: Facts) -> tuple[Watch, ...]:
    """Where the run's services are looked for: everywhere, and in each known namespace once that was refused.

    The refused watch stays wanted (it is tried again slowly), and those in its place stay until it has objects: an API
    server that is away says nothing about rights.
    """
    if Mode.SERVICES not in facts.modes:
        return ()
    known = sorted(facts.namespaces | {facts.namespace or facts.context_namespace or "default"})
    in_place = tuple(Watch(kinds.SERVICE, namespace, label_selector=RUN_ID_LABEL) for namespace in known)
    cluster = facts.cluster
    problem = cluster.problems.get(EVERYWHERE)
    replaced = any(watch in cluster.objects or watch in cluster.problems for watch in in_place)
    refused = problem is not None and (problem.forbidden or replaced)
    return (EVERYWHERE, *in_place) if refused else (EVERYWHERE,)


def services(facts: Facts) -> list[Service]:
    """The run's services, by namespace and name.

    Where the list of everywhere has become old because it is refused now, it counts only for namespaces that have no
    list of their own: what is not known to be gone is kept.
    """
    found: dict[tuple[str, str], Object] = {}
    for watch in service_watches(facts):
        if facts.cluster.synced(watch):
            found = {key: item for key, item in found.items() if key[0] != watch.namespace}
            found |= facts.cluster.objects[watch]
    ids = _run_ids(facts)
    return [item for _, item in sorted(found.items()) if isinstance(item, Service) and _is_own(item, ids)]


def namespaces(facts: Facts) -> frozenset[str]:
    """Those the run is known to use."""
    return facts.namespaces | {service.metadata.namespace for service in services(facts)}


def _run_ids(facts: Facts) -> frozenset[str] | None:
    """The labels that make a service the run's; None: any.

    Former ids count until a deploy under the new one has succeeded, and longer where the list may be behind.
    """
    if facts.any_run:
        return None
    cluster = facts.cluster
    behind = any(cluster.synced(watch) and watch in cluster.problems for watch in service_watches(facts))
    former = facts.former_run_ids if behind or not facts.deployed else frozenset()
    return former | ({facts.run_id} - {""})


def _is_own(service: Service, ids: frozenset[str] | None) -> bool:
    run_id = (service.metadata.labels or {}).get(RUN_ID_LABEL)
    return run_id is not None if ids is None else run_id in ids
