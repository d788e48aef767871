"""Owns what of the cluster belongs to the run: its services, and the namespaces it uses. Pure.

Services of every run are watched, and told apart here: a run that changes its id relabels its services one by one, and
a watch for one id alone would see them vanish and come again.
"""

from __future__ import annotations

from watcher.cluster import kinds
from watcher.cluster.objects import RUN_ID_LABEL, Service
from watcher.cluster.store import Watch
from watcher.plan.facts import Facts
from watcher.skaffold.modes import Mode


def service_watches(facts: Facts) -> tuple[Watch, ...]:
    """Where the run's services are looked for: everywhere, and in each known namespace once that is refused."""
    if Mode.SERVICES not in facts.modes:
        return ()
    everywhere = Watch(kinds.SERVICE, "", label_selector=RUN_ID_LABEL)
    problem = facts.cluster.problems.get(everywhere)
    if problem is None or not problem.forbidden:
        return (everywhere,)
    # The refused watch stays wanted: it is tried again slowly, and the answer to it must not be forgotten.
    known = sorted(facts.namespaces | {facts.namespace or facts.context_namespace or "default"})
    return (everywhere, *(Watch(kinds.SERVICE, name, label_selector=RUN_ID_LABEL) for name in known))


def services(facts: Facts) -> list[Service]:
    """The run's services, by namespace and name."""
    found: dict[tuple[str, str], Service] = {}
    for watch in service_watches(facts):
        objects = facts.cluster.objects.get(watch, {})
        found |= {key: item for key, item in objects.items() if isinstance(item, Service) and _is_own(item, facts)}
    return [service for _, service in sorted(found.items())]


def namespaces(facts: Facts) -> frozenset[str]:
    """Those the run is known to use."""
    return facts.namespaces | {service.metadata.namespace for service in services(facts)}


def _is_own(service: Service, facts: Facts) -> bool:
    run_id = (service.metadata.labels or {}).get(RUN_ID_LABEL)
    if run_id is None or facts.any_run:
        return run_id is not None
    ids = {facts.run_id} if facts.deployed else {facts.run_id, *facts.former_run_ids}
    return run_id in ids - {""}
