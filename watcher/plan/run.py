"""The run's services, pods, workloads, images and namespaces, and where its objects are looked for. Pure.

Objects of every run are watched, and this run's are picked out here: a run that changes its id relabels its objects
one by one, and a watch for one id alone would see them vanish and return.

They are looked for in all namespaces. If that is forbidden, they are looked for in each known namespace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from watcher.cluster import kinds
from watcher.cluster.kinds import RUN_ID_LABEL, Kind, Pod, ReplicationController, Resource, Service, Workload
from watcher.cluster.store import Key, Snapshot, Watch, key_of, labelled
from watcher.plan.facts import Facts, per_cluster
from watcher.plan.pods import PODS_A_STEP, OwnerKey, Steps, best_pods, pod_view
from watcher.plan.ports import PodShape, debug_annotation, pod_shape
from watcher.skaffold.modes import Mode

# The kinds that make pods which Skaffold labels. Their templates tell the ports while there is no pod.
WORKLOADS = (
    kinds.DEPLOYMENT,
    kinds.STATEFUL_SET,
    kinds.DAEMON_SET,
    kinds.REPLICA_SET,
    kinds.REPLICATION_CONTROLLER,
    kinds.JOB,
)
_MANGLED = r"[^a-zA-Z0-9]"
_GOOGLES = r"(^|\.)gcr\.io$|-docker\.pkg\.dev$"
# The digest of an image reference, then its tag (a colon before the last slash belongs to a registry's port).
_DIGEST, _TAG = r"@[^@/]*$", r":[^:/]*$"


class OwnedPods(Struct, frozen=True):
    """The pods of one owner, the best first. `shapes`: the workload's template and the pods, each shape once.

    `finished`: it has ended, and nothing will start it again.
    """

    owner: OwnerKey
    labels: Mapping[str, str]
    pods: tuple[Pod, ...]
    shapes: tuple[PodShape, ...]
    finished: bool = False


def kinds_looked_at(facts: Facts) -> frozenset[Kind]:
    """The kinds to look for: those that the modes select, and those of entries without a namespace.

    For `explain` all of them.
    """
    found: set[Kind] = set()
    if facts.containers is not None:
        return frozenset()
    if Mode.SERVICES in facts.modes or facts.explain_requested:
        found.add(kinds.SERVICE)
    if facts.pod_mode is not None or facts.explain_requested:
        found |= {kinds.POD, *WORKLOADS}
    if not facts.namespace:
        blank = (entry for entry in facts.active_entries if not entry.namespace and entry.kind in kinds.BY_NAME)
        found |= {kinds.BY_NAME[entry.kind] for entry in blank}
    return frozenset(found)


def objects(kind: Kind, facts: Facts) -> list[Resource]:
    """The run's objects of this kind, by namespace and name; none if the kind is not looked at."""
    return sorted(_own(kind, facts), key=key_of)


def services(facts: Facts) -> list[Service]:
    return cast("list[Service]", objects(kinds.SERVICE, facts))


def pods(facts: Facts) -> list[Pod]:
    return cast("list[Pod]", objects(kinds.POD, facts))


def namespaces(facts: Facts) -> frozenset[str]:
    """The namespaces that the run is known to use. Objects that only `explain` looks at do not count."""
    looked_at = kinds_looked_at(replace(facts, explain_requested=False))
    return facts.namespaces | {item.metadata.namespace for kind in looked_at for item in _own(kind, facts)}


def is_of_another(item: Resource, kind: Kind, facts: Facts) -> bool:
    """Whether the object has another run's label. Without a label it may belong to anyone."""
    ids, label = _run_ids(kind, facts), (item.metadata.labels or {}).get(RUN_ID_LABEL)
    return bool(ids) and label is not None and label not in (ids or ())


def pods_by_owner(facts: Facts) -> Iterator[OwnedPods | None]:
    """Everything of the run that has or makes pods, by namespace, kind and name. None is a moment to pause.

    A workload is in it without pods too: its forward outlives the times without any (a Recreate, a scale to 0).
    """
    made: dict[OwnerKey, list[Pod]] = {}
    for number, pod in enumerate(cast("list[Pod]", _own(kinds.POD, facts)), 1):
        made.setdefault(pod_view(pod).owner, []).append(pod)
        if number % PODS_A_STEP == 0:
            yield None
    # A Deployment's ReplicaSets are left to the Deployment.
    workloads = {
        OwnerKey(item.metadata.namespace, kind.singular, item.metadata.name): item
        for kind in WORKLOADS
        for item in _own(kind, facts)
        if item.metadata.controller is None
    }
    for owner in sorted(made.keys() | workloads.keys()):
        yield (yield from _owned_pods(owner, workloads.get(owner), made.get(owner, [])))


def _owned_pods(owner: OwnerKey, workload: Resource | None, made: list[Pod]) -> Steps[OwnedPods]:
    best, _ = yield from best_pods(made)
    ranked = tuple(view.pod for view in best)
    shapes = [view.shape for view in best]
    if isinstance(workload, Workload | ReplicationController):
        template = workload.spec.template
        shapes.insert(0, pod_shape(template.spec, debug_annotation(template.metadata.annotations)))
    labelled: Resource | None = workload or next(iter(ranked), None)
    labels = labelled.metadata.labels or {} if labelled is not None else {}
    over = all(pod.status.phase in {"Succeeded", "Failed"} for pod in ranked)
    once = owner.kind in {kinds.JOB.singular, kinds.POD.singular}
    finished = workload.finished if isinstance(workload, Workload) else bool(ranked) and once
    return OwnedPods(owner, labels, ranked, tuple({id(shape): shape for shape in shapes}.values()), finished and over)


# --- where the run's objects are looked for


def watches_of_run(kind: Kind, facts: Facts) -> tuple[Watch, ...]:
    """The watches for the labelled objects of this kind: all namespaces; once that is forbidden, each known one too.

    The forbidden watch is kept (it is tried again slowly), and the others are kept until it has objects: an API server
    that is away does not tell about rights. If the user named the namespaces, only those are watched.
    """
    everywhere = Watch(kind, "", label_selector=facts.selector or RUN_ID_LABEL)
    if facts.within:
        return tuple(replace(everywhere, namespace=namespace) for namespace in sorted(facts.within))
    known = sorted(facts.namespaces | {facts.namespace or facts.context_namespace or "default"})
    single = tuple(replace(everywhere, namespace=namespace) for namespace in known)
    cluster = facts.cluster
    problem = cluster.problems.get(everywhere)
    tried = any(watch in cluster.objects or watch in cluster.problems for watch in single)
    return (everywhere, *single) if problem is not None and (problem.forbidden or tried) else (everywhere,)


def _own(kind: Kind, facts: Facts) -> list[Resource]:
    """The run's objects of this kind in any order.

    If the list of all namespaces is stale because it is forbidden now, it counts only for namespaces without a list of
    their own: objects are kept until they are known to be gone.
    """
    if kind not in kinds_looked_at(facts):
        return []
    found, ids = list[Resource](), _run_ids(kind, facts)
    for watch in watches_of_run(kind, facts):
        if facts.cluster.synced(watch):
            there = cast("Mapping[Key, Resource]", facts.cluster.objects[watch])
            found = [item for item in found if item.metadata.namespace != watch.namespace]
            if ids is None:
                found += there.values()
            for one in ids or ():
                found += labelled(there, {RUN_ID_LABEL: one})
    return found


def _run_ids(kind: Kind, facts: Facts) -> frozenset[str] | None:
    """The labels of the run's objects; None if any label counts.

    Former ids count until a deploy under the new one has succeeded, and as long as the list may be older than that.
    """
    if facts.any_run or facts.selector:
        return None
    cluster = facts.cluster
    lists = [one for one in watches_of_run(kind, facts) if cluster.synced(one)]
    stale = any(one in cluster.problems or one in cluster.outdated for one in lists)
    return facts.ids_of_run if stale or not facts.deployed else frozenset({facts.run_id} - {""})


def is_current(facts: Facts) -> bool:
    """Whether every list of the run's objects is complete and at least as new as the last deploy, or forbidden."""
    return all(
        _is_current(watch, part.cluster)
        for part in per_cluster(facts).values()
        for kind in kinds_looked_at(part)
        for watch in watches_of_run(kind, part)
    )


def _is_current(watch: Watch, cluster: Snapshot) -> bool:
    problem = cluster.problems.get(watch)
    if problem is not None:
        return problem.forbidden and not cluster.synced(watch)
    return not cluster.is_behind(watch)


# --- images that the run built


class ArtifactIndex:
    """Tells whether the run built an image. The time for that does not depend on the number of artifacts.

    Artifacts are names as in skaffold.yaml. A deployed image has a tag or digest, and perhaps a default-repo before the
    name. The name may then have "_" or "-" for each character that is no letter or digit (skaffold
    pkg/skaffold/image/util.go, SubstituteDefaultRepoIntoImage).
    """

    def __init__(self, artifacts: Iterable[str]) -> None:
        self._names: set[str] = set()
        self._merged: dict[str, set[str]] = {}
        for name in map(_repository, artifacts):
            self._names |= {name, re.sub(_MANGLED, "_", name), re.sub(_MANGLED, "-", name)}
            parts = name.split("/")
            # In Google's registries a beginning that name and default-repo share is written once.
            for n in range(1, len(parts)) if re.search(_GOOGLES, parts[0]) else ():
                self._merged.setdefault("/".join(parts[n:]), set()).add("/".join(parts[:n]) + "/")

    def has(self, image: str) -> bool:
        deployed = _repository(image)
        if deployed in self._names:
            return True
        slash = deployed.find("/")
        while slash >= 0:
            end = deployed[slash + 1 :]
            if end in self._names or any(deployed.startswith(start) for start in self._merged.get(end, ())):
                return True
            slash = deployed.find("/", slash + 1)
        return False


artifact_index = lru_cache(maxsize=256)(ArtifactIndex)


def _repository(image: str) -> str:
    """The image's name without digest and tag."""
    return re.sub(_TAG, "", re.sub(_DIGEST, "", image))
