"""Finds the endpoints of a target by its kind. Pure.

A workload's pods are those that it owns: charts put the same labels on several workloads, so a selector alone also
finds the pods of others (as kubectl and Skaffold do). The selector narrows the search, the owner references decide. A
service's pods are found by its selector, or by its EndpointSlices if it has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

from forwarders.spec import Endpoint
from watcher.cluster import kinds
from watcher.cluster.kinds import (
    CronJob,
    EndpointSlice,
    LabelSelector,
    Object,
    Pod,
    ReplicationController,
    Requirement,
    Resource,
    Service,
    ServicePort,
    SliceEndpoint,
    Workload,
)
from watcher.cluster.store import Key, labelled
from watcher.plan.pods import (
    NAMED_PODS,
    PODS_A_STEP,
    EndpointResult,
    OwnerKey,
    Steps,
    best_pods,
    endpoints_from_pods,
    is_controlled_by,
    newest_replica_set,
    owner_of,
)
from watcher.plan.ports import TCP, is_port, pods_port, service_port

R = TypeVar("R", bound=Resource)

_OPERATORS = {"In": "in", "NotIn": "notin"}


class RelatedLists(Struct, frozen=True):
    """The other lists of the target's namespace. `slices`: the EndpointSlices of a service without selector.

    `replica_sets`: None if they may not be listed.
    """

    pods: Mapping[Key, Pod] = {}
    jobs: Mapping[Key, Workload] = {}
    slices: Mapping[Key, EndpointSlice] = {}
    replica_sets: Mapping[Key, Resource] | None = {}


def endpoints_of(target: Object, kind: str, port: int | str, related: RelatedLists) -> Steps[EndpointResult]:
    """The endpoints for `port` of `target`. `kind` is the singular."""
    match target:
        case Pod():
            return (yield from endpoints_from_pods([target], port, f"pod {target.metadata.name}"))
        case Service():
            return (yield from _of_service(target, port, related))
        case CronJob():
            return (yield from _of_cron_job(target, port, related))
        case Workload() | ReplicationController():
            return (yield from _of_workload(target, port, related, f"{kind} {target.metadata.name}", kind))
        case _:
            return EndpointResult(broken=f"portside does not know how to find the pods of a {kind}")


def _of_cron_job(cron_job: CronJob, port: int | str, related: RelatedLists) -> Steps[EndpointResult]:
    """The pods of the newest job, which kubectl cannot find."""
    name = f"cronjob {cron_job.metadata.name}"
    own = [job for job in related.jobs.values() if is_controlled_by(job, cron_job.metadata.uid)]
    if not own:
        return EndpointResult(waiting_for=f"{name} has not started a job yet")
    newest = max(own, key=lambda job: (job.metadata.creation_timestamp or "", job.metadata.name))
    return (yield from _of_workload(newest, port, related, name))


def _of_workload(
    target: Workload | ReplicationController, port: int | str, related: RelatedLists, name: str, kind: str = ""
) -> Steps[EndpointResult]:
    selector = selector_of(target.spec.selector)
    matching = yield from selected(selector, related.pods)
    is_own, newest = _ownership(target, kind, related)
    own = yield from _filtered(matching, is_own)
    if own:
        return (yield from endpoints_from_pods(own, port, name, newest=newest))
    if matching:
        there = f"what matches {selector_text(selector)} ({_names(matching)}) belongs to others"
        return EndpointResult(waiting_for=f"{name} has no pod: {there}")
    return EndpointResult(waiting_for=f"{name}: no pod matches {selector_text(selector)}")


def _ownership(target: Resource, kind: str, related: RelatedLists) -> tuple[Callable[[Pod], bool], str]:
    """The test for the target's own pods, and the UID of a Deployment's newest ReplicaSet.

    A Deployment's ReplicaSets own its pods. If they may not be listed, the name of a pod's ReplicaSet tells the
    Deployment.
    """
    uids, newest = {target.metadata.uid}, ""
    if kind == kinds.DEPLOYMENT.singular:
        if related.replica_sets is None:
            key = OwnerKey(target.metadata.namespace, kind, target.metadata.name)
            return lambda pod: owner_of(pod) == key, ""
        sets = [one for one in related.replica_sets.values() if is_controlled_by(one, target.metadata.uid)]
        uids, newest = {one.metadata.uid for one in sets}, newest_replica_set(sets)
    return lambda pod: (owner := pod.metadata.controller) is not None and owner.uid in uids, newest


def _names(pods: Sequence[Pod]) -> str:
    names = sorted(pod.metadata.name for pod in pods)
    return ", ".join(names[:NAMED_PODS]) + (f" and {len(names) - NAMED_PODS} more" if len(names) > NAMED_PODS else "")


def _of_service(service: Service, port: int | str, related: RelatedLists) -> Steps[EndpointResult]:
    name = f"service {service.metadata.name}"
    wanted = service_port(service, port)
    if wanted is None:
        there = ", ".join(f"{p.port}/{p.name}" if p.name else str(p.port) for p in service.spec.ports or ())
        return EndpointResult(broken=f"{name} has no port {port} (it has {there or 'none'})")
    if not service.spec.selector:
        return (yield from _of_slices(name, wanted, related))
    selector = selector_of(service.spec.selector)
    pods = yield from selected(selector, related.pods)
    if not pods:
        return EndpointResult(waiting_for=f"{name}: no pod matches {selector_text(selector)}")
    unready_too = service.spec.publish_not_ready_addresses
    return (yield from endpoints_from_pods(pods, pods_port(service, wanted), name, unready_too=unready_too))


def _of_slices(name: str, wanted: ServicePort, related: RelatedLists) -> Steps[EndpointResult]:
    """The pods in EndpointSlices that someone else maintains. Their ports are numbers already."""
    by_uid: dict[str, Pod] = {}
    by_ip: dict[str, Pod] = {}
    for number, pod in enumerate([*related.pods.values()], 1):
        by_uid[pod.metadata.uid] = pod
        by_ip.update(dict.fromkeys(pod.addresses, pod))
        if number % PODS_A_STEP == 0:
            yield
    found: dict[str, tuple[Pod, int, bool]] = {}  # by the pod's uid; with its port, and whether it is ready
    strangers: list[str] = []
    for one in [*related.slices.values()]:
        yield
        port = next((p.port for p in one.ports or () if (p.name or "", p.protocol or TCP) == (wanted.name, TCP)), None)
        for there in one.endpoints or () if port and is_port(port) else ():
            meant = _pod_of(there, by_uid, by_ip)
            if meant is None:
                strangers += there.addresses
            elif meant.status.phase == "Running" and not meant.deleting and port:
                found[meant.metadata.uid] = meant, port, there.conditions.ready is not False
    if found:
        best, old = yield from best_pods([pod for pod, _, _ in found.values()])
        endpoints = [Endpoint(view.ref, *found[view.ref.uid][1:], outdated=view.revision in old) for view in best]
        endpoints.sort(key=lambda endpoint: not endpoint.ready)
        return EndpointResult(tuple(endpoints), waiting_for="" if endpoints[0].ready else f"no pod of {name} is ready")
    if strangers:
        shown = ", ".join(strangers[:NAMED_PODS])
        return EndpointResult(
            broken=f"{name} has no selector, and its endpoint {shown} is no pod: only pods can be reached"
        )
    return EndpointResult(
        waiting_for=f"{name} has no selector, and no EndpointSlice of it has an address for this port yet"
    )


def _pod_of(there: SliceEndpoint, by_uid: Mapping[str, Pod], by_ip: Mapping[str, Pod]) -> Pod | None:
    if there.target_ref is not None and there.target_ref.kind == "Pod":
        return by_uid.get(there.target_ref.uid)
    return next((by_ip[address] for address in there.addresses if address in by_ip), None)


# --- label selectors (apimachinery, metav1.LabelSelector)


def selector_of(selector: LabelSelector | Mapping[str, str] | None) -> LabelSelector:
    """The selector of a target; a service's and a replication controller's have equal labels only."""
    return selector if isinstance(selector, LabelSelector) else LabelSelector(match_labels=dict(selector or {}))


def selected(selector: LabelSelector, objects: Mapping[Key, R]) -> Steps[list[R]]:
    """The objects that the selector matches. An empty one matches nothing: no controller's may be empty."""
    if _is_empty(selector):
        return []
    found = labelled(objects, selector.match_labels or {})
    if not selector.match_expressions:
        return [*found]
    requirements = selector.match_expressions
    return (yield from _filtered(found, lambda item: all(_meets(one, item.metadata.labels) for one in requirements)))


def _filtered(items: Iterable[R], condition: Callable[[R], bool]) -> Steps[list[R]]:
    """The objects that meet the condition, from a copy, since objects come and go between two steps."""
    found: list[R] = []
    for number, item in enumerate([*items], 1):
        if condition(item):
            found.append(item)
        if number % PODS_A_STEP == 0:
            yield
    return found


def selector_text(selector: LabelSelector) -> str:
    """A selector as text, as kubectl's -l takes it."""
    if _is_empty(selector):
        return "no selector"
    equal = (f"{key}={value}" for key, value in sorted((selector.match_labels or {}).items()))
    return ",".join([*equal, *map(_requirement_text, selector.match_expressions or ())])


def _is_empty(selector: LabelSelector) -> bool:
    return not (selector.match_labels or selector.match_expressions)


def _requirement_text(requirement: Requirement) -> str:
    match requirement.operator:
        case "Exists":
            return requirement.key
        case "DoesNotExist":
            return f"!{requirement.key}"
        case operator:
            return f"{requirement.key} {_OPERATORS.get(operator, operator)} ({','.join(requirement.values or ())})"


def _meets(requirement: Requirement, labels: Mapping[str, str] | None) -> bool:
    value, values = (labels or {}).get(requirement.key), requirement.values or ()
    match requirement.operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return False
