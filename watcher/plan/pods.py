"""Pods: which owner made one, which of several serves first, which endpoints and addresses they have. Pure.

Order: Ready pods come first, then those of their workload's newest revision, then the newest. The pods of a StatefulSet
are not equal (the first is often the primary), so the lowest ordinal comes first, whatever its revision: the
StatefulSet itself replaces that pod when its turn comes. Of equal pods `forwarders/backend.py` keeps the last one used.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TypeVar

from msgspec import Struct

from forwarders.spec import Endpoint, PodRef
from watcher.cluster import kinds
from watcher.cluster.kinds import Pod, Resource
from watcher.plan.ports import PodShape, debug_annotation, number_in, pod_shape, undeclared

REVISION = "deployment.kubernetes.io/revision"
_STATEFUL_SET = "StatefulSet"
_HASH_LABEL = "pod-template-hash"
_ROLLOUT_HASH_LABEL = "rollouts-pod-template-hash"
# The label of a DaemonSet's pods.
_REVISION_LABEL = "controller-revision-hash"
# Containers that take over a pod's connections, and may accept them and then refuse what is inside: in a mesh, plain
# TCP from outside. From localhost, where the container runtime dials, they let it pass.
_MESH_PROXIES = frozenset(
    {"istio-proxy", "linkerd-proxy", "kuma-sidecar", "consul-dataplane", "envoy-sidecar", "envoy", "nginx-mesh-sidecar"}
)
# Istio without sidecars: the node's proxy takes over the connections of a pod with this annotation.
_AMBIENT = "ambient.istio.io/redirection"
# How many pods a reason names, to keep it on one line.
NAMED_PODS = 3
# How many pods of one target the plan considers: the best ones. New connections go to one of them at a time.
MOST_PODS = 1000
# How many pods are read before a pause: some milliseconds if each is new.
PODS_A_STEP = 200

T = TypeVar("T")
# Work with pauses, so that other tasks run between its steps; then its result.
Steps = Generator[None, None, T]
# What made a pod, and which revision of that; "" for both if revisions do not matter.
Revision = tuple[str, str]


class OwnerKey(Struct, frozen=True, order=True):
    """`kind` in lower case: deployment, statefulset …; pod for a pod without an owner."""

    namespace: str
    kind: str
    name: str


class EndpointResult(Struct, frozen=True):
    """The endpoints of a target. `waiting_for`: why none serves now. `broken`: why none can until something changes."""

    endpoints: tuple[Endpoint, ...] = ()
    waiting_for: str = ""
    broken: str = ""


class PodView(Struct, frozen=True, gc=False):
    """What the plan reads of a pod, computed once: most plans meet the same pods again."""

    pod: Pod
    created: str
    ready: bool
    owner: OwnerKey
    ordinal: int
    revision: Revision
    ref: PodRef
    shape: PodShape


def _new_view(pod: Pod) -> PodView:
    metadata = pod.metadata
    return PodView(
        pod=pod,
        created=metadata.creation_timestamp or "",
        ready=pod.ready,
        owner=owner_of(pod),
        ordinal=_ordinal(pod),
        revision=_revision(pod),
        ref=PodRef(metadata.namespace, metadata.name, metadata.uid),
        shape=pod_shape(pod.spec, debug_annotation(metadata.annotations)),
    )


class _Views:
    """The views of the last two plans, by the identity of their pods. A view keeps its pod alive."""

    def __init__(self) -> None:
        self._now: dict[int, PodView] = {}
        self._before: dict[int, PodView] = {}

    def next_plan(self) -> None:
        self._now, self._before = {}, self._now

    def of(self, pod: Pod) -> PodView:
        key = id(pod)
        found = self._now.get(key)
        if found is None:
            found = self._now[key] = self._before.get(key) or _new_view(pod)
        return found


_views = _Views()
pod_view = _views.of
# Forgets the pods that the last plan has not met.
forget_old_views = _views.next_plan


# --- owners


def owner_of(pod: Pod) -> OwnerKey:
    """The owner that the pod's forwards are named after, as topLevelOwnerKey in Skaffold's pod_forwarder.go.

    A Deployment's pods belong to its ReplicaSets, which each rollout replaces. The Deployment's name follows from the
    pod alone: a ReplicaSet's name is the Deployment's and the hash of the pod template.
    """
    namespace, owner = pod.metadata.namespace, pod.metadata.controller
    if owner is None:
        return OwnerKey(namespace, kinds.POD.singular, pod.metadata.name)
    deployment = _without_hash(owner.name, pod, _HASH_LABEL)
    if owner.kind == "ReplicaSet" and deployment != owner.name:
        return OwnerKey(namespace, kinds.DEPLOYMENT.singular, deployment)
    return OwnerKey(namespace, owner.kind.lower(), owner.name)


def is_controlled_by(item: Resource, uid: str) -> bool:
    owner = item.metadata.controller
    return owner is not None and owner.uid == uid


def newest_replica_set(replica_sets: Iterable[Resource]) -> str:
    """The UID of a Deployment's current ReplicaSet, "" if none has a revision. A rollback raises the revision too."""
    revisions = {one.metadata.uid: number for one in replica_sets if (number := _revision_number(one))}
    return max(revisions, key=lambda uid: revisions[uid], default="")


def _revision_number(replica_set: Resource) -> int:
    """The revision in a ReplicaSet's annotation; 0 if that is no number: its editors may write any text there."""
    text = (replica_set.metadata.annotations or {}).get(REVISION, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


# --- order


def best_pods(pods: Sequence[Pod], newest: str = "") -> Steps[tuple[list[PodView], frozenset[Revision]]]:
    """The best MOST_PODS of the pods in order, and the revisions that are outdated: their workload has a newer one.

    `newest`: the UID of the current ReplicaSet, if all these pods belong to one Deployment. Without it the youngest pod
    shows the newest revision: timestamps are RFC 3339 in UTC, so they sort as texts.
    """
    views: list[PodView] = []
    youngest: dict[Revision, str] = {}
    for start in range(0, len(pods), PODS_A_STEP):
        if start:
            yield
        for view in map(pod_view, pods[start : start + PODS_A_STEP]):
            views.append(view)
            if view.created >= youngest.get(view.revision, ""):
                youngest[view.revision] = view.created
    old = _outdated(youngest, newest)
    best: list[PodView] = []
    for start in range(0, len(views), 2 * MOST_PODS):
        if start:
            yield
        best = _ordered([*best, *views[start : start + 2 * MOST_PODS]], old)[:MOST_PODS]
    return best, old


def _ordered(views: list[PodView], old: frozenset[Revision]) -> list[PodView]:
    """Sorts the pods, the best first: by one criterion after the other, since each sort keeps the order of equals."""
    views.sort(key=attrgetter("ref.name"))
    views.sort(key=attrgetter("created"), reverse=True)
    views.sort(key=lambda view: (not view.ready, view.revision in old, view.ordinal))
    return views


def _outdated(youngest: Mapping[Revision, str], newest: str) -> frozenset[Revision]:
    """The revisions that are outdated. `youngest`: of each one the time at which its youngest pod was created."""
    if newest:
        return frozenset(revision for revision in youngest if revision[1] != newest)
    if len(youngest) < 2:
        return frozenset()
    of_workload: dict[str, str] = {}
    for (workload, _), created in youngest.items():
        of_workload[workload] = max(created, of_workload.get(workload, ""))
    return frozenset(revision for revision, created in youngest.items() if created < of_workload[revision[0]])


def _revision(pod: Pod) -> Revision:
    owner = pod.metadata.controller
    if owner is None or owner.kind == _STATEFUL_SET:
        return "", ""
    if owner.kind == "ReplicaSet":
        return _without_hash(owner.name, pod, _HASH_LABEL, _ROLLOUT_HASH_LABEL), owner.uid
    return owner.uid, (pod.metadata.labels or {}).get(_REVISION_LABEL, "")


def _without_hash(replica_set: str, pod: Pod, *hash_labels: str) -> str:
    """The name that the ReplicaSets of all revisions share: that of a Deployment or an Argo Rollout."""
    hashes = [f"-{value}" for label in hash_labels if (value := (pod.metadata.labels or {}).get(label))]
    return next((replica_set.removesuffix(one) for one in hashes if replica_set.endswith(one)), replica_set)


def _ordinal(pod: Pod) -> int:
    """The number at the end of a StatefulSet's pod's name, 0 for all other pods."""
    owner, number = pod.metadata.controller, pod.metadata.name.rpartition("-")[2]
    is_numbered = owner is not None and owner.kind == _STATEFUL_SET and number.isascii() and number.isdigit()
    return int(number) if is_numbered else 0


# --- endpoints


def endpoints_from_pods(
    pods: Sequence[Pod], port: int | str, name: str, *, newest: str = "", unready_too: bool = False
) -> Steps[EndpointResult]:
    """The running pods as endpoints, the best first, then the starting ones.

    `name`: the target, for reasons. `newest`: as for `best_pods`. `unready_too`: readiness does not matter for this
    target (publishNotReadyAddresses).
    """
    ranked, old = yield from best_pods(pods, newest)
    running = [view for view in ranked if view.pod.status.phase == "Running" and not view.pod.deleting]
    endpoints = tuple(
        Endpoint(
            view.ref,
            number,
            ready=view.ready or (unready_too and not view.pod.starting),
            running=not view.pod.starting,
            outdated=view.revision in old,
        )
        for view in (*running, *(view for view in ranked if view.pod.starting))
        if (number := number_in(view.pod, port)) is not None
    )
    if running and not endpoints:
        return EndpointResult(broken=undeclared(running[0].pod, port, name))
    if any(endpoint.ready for endpoint in endpoints):
        return EndpointResult(endpoints)
    states = ", ".join(_state(view.pod) for view in ranked[:NAMED_PODS])
    return EndpointResult(endpoints, waiting_for=f"no pod of {name} is ready: {states}")


def _state(pod: Pod) -> str:
    if pod.deleting:
        return f"{pod.metadata.name} is Terminating"
    waiting = [s.state.waiting.reason for s in pod.status.container_statuses or () if s.state and s.state.waiting]
    detail = next((f" ({reason})" for reason in waiting if reason), "")
    phase = pod.status.phase or "Pending"
    return f"{pod.metadata.name} is {'Running but not Ready' if phase == 'Running' else phase}{detail}"


def own_address(pod: Pod) -> str:
    """The pod's address, if its containers' ports can be reached there without the API server; else ""."""
    in_mesh = (pod.metadata.annotations or {}).get(_AMBIENT) == "enabled"
    names = {one.name for one in (*pod.spec.containers, *(pod.spec.init_containers or ()))}
    if pod.deleting or pod.status.phase != "Running" or pod.spec.host_network or in_mesh or names & _MESH_PROXIES:
        return ""
    return next(iter(pod.addresses), "")
