"""Finds what made a pod, from the owner reference of its controller. Pure.

A Deployment does not own its pods itself: its ReplicaSets do, and these come and go with each rollout. Where the
ReplicaSets are not known, the Deployment's name follows from the pod alone: a ReplicaSet is named after it, with the
pods' template hash behind.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from watcher.cluster import kinds
from watcher.cluster.kinds import Pod, Resource

REVISION = "deployment.kubernetes.io/revision"
_HASH_LABEL = "pod-template-hash"


class Owner(Struct, frozen=True, order=True):
    """`kind` in lower case: deployment, statefulset …; pod for one that nothing made."""

    namespace: str
    kind: str
    name: str


def owner_of(pod: Pod) -> Owner:
    """What a pod's forwards are named after, as Skaffold's topLevelOwnerKey in its pod_forwarder.go."""
    namespace, owner = pod.metadata.namespace, pod.metadata.controller
    if owner is None:
        return Owner(namespace, kinds.POD.singular, pod.metadata.name)
    hashed = f"-{(pod.metadata.labels or {}).get(_HASH_LABEL, '')}"
    if owner.kind == "ReplicaSet" and len(hashed) > 1 and owner.name.endswith(hashed):
        return Owner(namespace, kinds.DEPLOYMENT.singular, owner.name.removesuffix(hashed))
    return Owner(namespace, owner.kind.lower(), owner.name)


def is_controlled_by(item: Resource, uid: str) -> bool:
    owner = item.metadata.controller
    return owner is not None and owner.uid == uid


def newest_replica_set(replica_sets: Iterable[Resource]) -> str:
    """The UID of the one that a Deployment fills now, "" where none has a revision. A rollback gives a new one too."""
    revisions = {one.metadata.uid: number for one in replica_sets if (number := _revision(one))}
    return max(revisions, key=lambda uid: revisions[uid], default="")


def _revision(replica_set: Resource) -> int:
    """Anybody who may edit a ReplicaSet may write anything there."""
    text = (replica_set.metadata.annotations or {}).get(REVISION, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
