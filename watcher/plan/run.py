"""Owns what of the cluster belongs to the run: its services, pods and workloads, and the namespaces it uses. Pure.

Objects of every run are watched, and told apart here: a run that changes its id relabels its objects one by one, and a
watch for one id alone would see them vanish and come again.
"""

from __future__ import annotations

from watcher.cluster import kinds
from watcher.cluster.kinds import RUN_ID_LABEL, Kind, Pod, Resource, Service
from watcher.cluster.store import Watch
from watcher.plan import spread
from watcher.plan.facts import Facts
from watcher.skaffold.modes import Mode

# What makes pods that Skaffold labels; their templates say which ports there will be while there is no pod.
WORKLOADS = (
    kinds.DEPLOYMENT,
    kinds.STATEFUL_SET,
    kinds.DAEMON_SET,
    kinds.REPLICA_SET,
    kinds.REPLICATION_CONTROLLER,
    kinds.JOB,
)


def everywhere(kind: Kind, facts: Facts) -> Watch:
    return Watch(kind, "", label_selector=facts.selector or RUN_ID_LABEL)


def kinds_looked_at(facts: Facts) -> frozenset[Kind]:
    """The kinds whose objects are looked for: what the modes select, and what entries name that have no namespace.

    All of them where somebody asks why something is not forwarded.
    """
    found: set[Kind] = set()
    if facts.containers is not None:
        return frozenset()
    if Mode.SERVICES in facts.modes or facts.explain_requested:
        found.add(kinds.SERVICE)
    if facts.modes & {Mode.DEBUG, Mode.PODS} or facts.explain_requested:
        found |= {kinds.POD, *WORKLOADS}
    if not facts.namespace:
        blank = (entry for entry in facts.active_entries if not entry.namespace and entry.kind in kinds.BY_NAME)
        found |= {kinds.BY_NAME[entry.kind] for entry in blank}
    return frozenset(found)


def watches(facts: Facts) -> frozenset[Watch]:
    """Where all these are looked for."""
    return frozenset(
        watch for kind in kinds_looked_at(facts) for watch in spread.watches(everywhere(kind, facts), facts)
    )


def objects(kind: Kind, facts: Facts) -> list[Resource]:
    """The run's objects of this kind, by namespace and name; none where nothing asks for them."""
    if kind not in kinds_looked_at(facts):
        return []
    ids = _run_ids(everywhere(kind, facts), facts)
    found = sorted(spread.found(everywhere(kind, facts), facts).items())
    return [item for _, item in found if isinstance(item, Resource) and _is_own(item, ids)]


def services(facts: Facts) -> list[Service]:
    return [item for item in objects(kinds.SERVICE, facts) if isinstance(item, Service)]


def pods(facts: Facts) -> list[Pod]:
    return [item for item in objects(kinds.POD, facts) if isinstance(item, Pod)]


def namespaces(facts: Facts) -> frozenset[str]:
    """Those the run is known to use."""
    found = {item.metadata.namespace for kind in kinds_looked_at(facts) for item in objects(kind, facts)}
    return facts.namespaces | found


def is_of_another(item: Resource, kind: Kind, facts: Facts) -> bool:
    """Whether some other run's label is on it; what has none may be anybody's."""
    ids, label = _run_ids(everywhere(kind, facts), facts), (item.metadata.labels or {}).get(RUN_ID_LABEL)
    return bool(ids) and label is not None and label not in (ids or ())


def _run_ids(watch: Watch, facts: Facts) -> frozenset[str] | None:
    """The labels that make an object the run's; None: any.

    Former ids count until a deploy under the new one has succeeded, and longer where the list may be behind.
    """
    if facts.any_run or facts.selector:
        return None
    former = facts.former_run_ids if spread.is_behind(watch, facts) or not facts.deployed else frozenset()
    return former | ({facts.run_id} - {""})


def _is_own(item: Resource, ids: frozenset[str] | None) -> bool:
    """Where any will do, the watch's own selector has chosen."""
    return ids is None or (item.metadata.labels or {}).get(RUN_ID_LABEL) in ids
