"""Orders the pods that may serve a target. Pure.

Ready ones come first, then those of their workload's newest revision, then the newest. A StatefulSet's pods are no
equals (the first is often the primary), so of those the lowest ordinal comes first, whatever its revision: the
StatefulSet itself replaces it when its turn has come. Which of several equals serves is decided where connections are
made (forwarders/backend.py): the one that serves already.
"""

from __future__ import annotations

from collections.abc import Iterable

from watcher.cluster.kinds import Pod

_STATEFUL_SET = "StatefulSet"
_HASH_LABELS = ("pod-template-hash", "rollouts-pod-template-hash")
# DaemonSets put it on their pods.
_REVISION_LABEL = "controller-revision-hash"


def ranking(pods: Iterable[Pod], newest: str = "") -> list[Pod]:
    """The best first. `newest`: as for `outdated`."""
    there = list(pods)
    old = outdated(there, newest)
    by_age = sorted(sorted(there, key=_name), key=_created, reverse=True)
    return sorted(by_age, key=lambda pod: (not pod.ready, pod.metadata.uid in old, _ordinal(pod)))


def outdated(pods: Iterable[Pod], newest: str = "") -> frozenset[str]:
    """The UIDs of the pods whose workload has a newer revision.

    `newest`: the UID of the ReplicaSet that all these pods' Deployment fills now. Without it the pod that was created
    last tells which revision is the newest: timestamps are RFC 3339 in UTC, so their order is that of the texts.
    """
    there = list(pods)
    if newest:
        return frozenset(pod.metadata.uid for pod in there if not _is_of(pod, newest))
    latest: dict[str, dict[str, str]] = {}
    for pod in there:
        workload, revision = _revision(pod)
        made = latest.setdefault(workload, {})
        made[revision] = max(made.get(revision, ""), _created(pod))
    return frozenset(pod.metadata.uid for pod in there if _is_older(latest, *_revision(pod)))


def _is_of(pod: Pod, replica_set: str) -> bool:
    owner = pod.metadata.controller
    return owner is not None and owner.uid == replica_set


def _is_older(latest: dict[str, dict[str, str]], workload: str, revision: str) -> bool:
    made = latest[workload]
    return made[revision] < max(made.values())


def _revision(pod: Pod) -> tuple[str, str]:
    """What made the pod, and from which of its templates; "" for both where there is nothing to compare."""
    owner = pod.metadata.controller
    if owner is None or owner.kind == _STATEFUL_SET:
        return "", ""
    if owner.kind == "ReplicaSet":
        return _without_hash(owner.name, pod), owner.uid
    return owner.uid, (pod.metadata.labels or {}).get(_REVISION_LABEL, "")


def _without_hash(replica_set: str, pod: Pod) -> str:
    """What its ReplicaSets of all revisions have in common: a Deployment's name, or that of an Argo Rollout."""
    labels = pod.metadata.labels or {}
    hashes = [f"-{labels[label]}" for label in _HASH_LABELS if labels.get(label)]
    return next((replica_set.removesuffix(one) for one in hashes if replica_set.endswith(one)), replica_set)


def _ordinal(pod: Pod) -> int:
    owner, number = pod.metadata.controller, pod.metadata.name.rpartition("-")[2]
    is_numbered = owner is not None and owner.kind == _STATEFUL_SET and number.isascii() and number.isdigit()
    return int(number) if is_numbered else 0


def _name(pod: Pod) -> str:
    return pod.metadata.name


def _created(pod: Pod) -> str:
    return pod.metadata.creation_timestamp or ""
