"""Pods: which owner made one, which of several serves first, and which endpoints they give. Pure.

Order: Ready pods come first, then those of their workload's newest revision, then the newest. The pods of a StatefulSet
are not equal (the first is often the primary), so the lowest ordinal comes first, whatever its revision: the
StatefulSet itself replaces that pod when its turn comes. Of equal pods `forwarders/backend.py` keeps the last one used.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from msgspec import Struct

from forwarders.spec import Endpoint, PodRef
from watcher.cluster import kinds
from watcher.cluster.kinds import Pod, Resource
from watcher.plan.ports import PodShape, debug_annotation, number_in, pod_shape, undeclared

REVISION = "deployment.kubernetes.io/revision"
_STATEFUL_SET = "StatefulSet"
_HASH_LABEL = "pod-template-hash"
_HASH_LABELS = (_HASH_LABEL, "rollouts-pod-template-hash")
# The label of a DaemonSet's pods.
_REVISION_LABEL = "controller-revision-hash"
# How many pods a reason names, to keep it on one line.
NAMED_PODS = 3
# How many pods of one target the plan considers: the best ones. New connections go to one of them at a time.
MOST_PODS = 1000


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
    name: str
    uid: str
    created: str
    ready: bool
    owner: OwnerKey
    controller: str
    ordinal: int
    revision: tuple[str, str]
    ref: PodRef
    shape: PodShape


def _new_view(pod: Pod) -> PodView:
    metadata, controller = pod.metadata, pod.metadata.controller
    return PodView(
        pod=pod,
        name=metadata.name,
        uid=metadata.uid,
        created=metadata.creation_timestamp or "",
        ready=pod.ready,
        owner=owner_of(pod),
        controller=controller.uid if controller is not None else "",
        ordinal=_ordinal(pod),
        revision=_revision(pod),
        ref=PodRef(metadata.namespace, metadata.name, metadata.uid),
        shape=pod_shape(pod.spec, debug_annotation(metadata.annotations)),
    )


class _Views:
    """The views of the last two plans by the identity of their pods, which they keep alive so long."""

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
    hashed = f"-{(pod.metadata.labels or {}).get(_HASH_LABEL, '')}"
    if owner.kind == "ReplicaSet" and len(hashed) > 1 and owner.name.endswith(hashed):
        return OwnerKey(namespace, kinds.DEPLOYMENT.singular, owner.name.removesuffix(hashed))
    return OwnerKey(namespace, owner.kind.lower(), owner.name)


def is_controlled_by(item: Resource, uid: str) -> bool:
    owner = item.metadata.controller
    return owner is not None and owner.uid == uid


def newest_replica_set(replica_sets: Iterable[Resource]) -> str:
    """The UID of a Deployment's current ReplicaSet, "" if none has a revision. A rollback raises the revision too."""
    revisions = {one.metadata.uid: number for one in replica_sets if (number := _revision_number(one))}
    return max(revisions, key=lambda uid: revisions[uid], default="")


def _revision_number(replica_set: Resource) -> int:
    """0 unless the annotation is a number: anyone who may edit a ReplicaSet may write any text there."""
    text = (replica_set.metadata.annotations or {}).get(REVISION, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


# --- order


def ranking(pods: Iterable[Pod], newest: str = "") -> list[Pod]:
    """The pods, the best first. `newest`: as for `outdated`."""
    return [view.pod for view in _ranked(pods, newest)[0]]


def outdated(pods: Iterable[Pod], newest: str = "") -> frozenset[str]:
    """The UIDs of the pods whose workload has a newer revision.

    `newest`: the UID of the current ReplicaSet, if all these pods belong to one Deployment. Without it the youngest pod
    shows the newest revision: timestamps are RFC 3339 in UTC, so they sort as texts.
    """
    return _outdated([pod_view(pod) for pod in pods], newest)


def _ranked(pods: Iterable[Pod], newest: str) -> tuple[list[PodView], frozenset[str]]:
    """The order, and the UIDs of the outdated pods. Each sort keeps the order of what it finds equal."""
    views = [pod_view(pod) for pod in pods]
    old = _outdated(views, newest)
    views.sort(key=attrgetter("name"))
    views.sort(key=attrgetter("created"), reverse=True)
    views.sort(key=lambda view: (not view.ready, view.uid in old, view.ordinal))
    return views, old


def _outdated(views: list[PodView], newest: str) -> frozenset[str]:
    if newest:
        return frozenset(view.uid for view in views if view.controller != newest)
    youngest: dict[tuple[str, str], str] = {}
    for view in views:
        if view.created >= youngest.get(view.revision, ""):
            youngest[view.revision] = view.created
    of_workload: dict[str, str] = {}
    for (workload, _), created in youngest.items():
        of_workload[workload] = max(of_workload.get(workload, ""), created)
    old = {revision for revision, created in youngest.items() if created < of_workload[revision[0]]}
    return frozenset(view.uid for view in views if view.revision in old) if old else frozenset()


def _revision(pod: Pod) -> tuple[str, str]:
    """The pod's workload and which revision of it made the pod; "" for both if revisions do not matter."""
    owner = pod.metadata.controller
    if owner is None or owner.kind == _STATEFUL_SET:
        return "", ""
    if owner.kind == "ReplicaSet":
        return _without_hash(owner.name, pod), owner.uid
    return owner.uid, (pod.metadata.labels or {}).get(_REVISION_LABEL, "")


def _without_hash(replica_set: str, pod: Pod) -> str:
    """The name that the ReplicaSets of all revisions share: that of a Deployment or an Argo Rollout."""
    labels = pod.metadata.labels or {}
    hashes = [f"-{labels[label]}" for label in _HASH_LABELS if labels.get(label)]
    return next((replica_set.removesuffix(one) for one in hashes if replica_set.endswith(one)), replica_set)


def _ordinal(pod: Pod) -> int:
    """The number at the end of a StatefulSet's pod's name, 0 for all other pods."""
    owner, number = pod.metadata.controller, pod.metadata.name.rpartition("-")[2]
    is_numbered = owner is not None and owner.kind == _STATEFUL_SET and number.isascii() and number.isdigit()
    return int(number) if is_numbered else 0


# --- endpoints


def endpoints_from_pods(
    pods: Iterable[Pod],
    port: int | str,
    name: str,
    *,
    newest: str = "",
    unready_too: bool = False,
) -> EndpointResult:
    """The running pods as endpoints, the best first, then the starting ones.

    `name`: the target, for reasons. `newest`: as for `outdated`. `unready_too`: readiness does not matter for this
    target (publishNotReadyAddresses).
    """
    ranked, old = _ranked(pods, newest)
    del ranked[MOST_PODS:]
    running = [view for view in ranked if view.pod.status.phase == "Running" and not view.pod.deleting]
    endpoints = tuple(
        Endpoint(
            view.ref,
            number,
            ready=view.ready or (unready_too and not view.pod.starting),
            running=not view.pod.starting,
            outdated=view.uid in old,
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
