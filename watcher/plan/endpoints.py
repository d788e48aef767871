"""Finds the endpoints of a target by its kind. Pure.

A workload's pods are those that it owns: charts put the same labels on several workloads, so a selector alone also
finds the pods of others (as kubectl and Skaffold do). The selector narrows the search, the owner references decide. A
service's pods are found by its selector, or by its EndpointSlices if it has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from msgspec import Struct

from forwarders.spec import Endpoint, PodRef
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
    EndpointResult,
    OwnerKey,
    endpoints_from_pods,
    is_controlled_by,
    newest_replica_set,
    outdated,
    owner_of,
    pod_view,
    ranking,
)
from watcher.plan.ports import TCP, is_port, pods_port, service_port

R = TypeVar("R", bound=Resource)

_OPERATORS = {"In": "in", "NotIn": "notin"}


class RelatedLists(Struct, frozen=True):
    """The other lists of the target's namespace. `slices`: the EndpointSlices of a service without selector.

    `replica_sets`: None if they may not be listed.
    """

    pods: Mapping[Key, Pod] = {}
    jobs: Iterable[Workload] = ()
    slices: Iterable[EndpointSlice] = ()
    replica_sets: Iterable[Resource] | None = ()


def endpoints_of(target: Object, kind: str, port: int | str, related: RelatedLists) -> EndpointResult:
    """The endpoints for `port` of `target`. `kind` is the singular."""
    match target:
        case Pod():
            return endpoints_from_pods([target], port, f"pod {target.metadata.name}")
        case Service():
            return _of_service(target, port, related)
        case CronJob():
            return _of_cron_job(target, port, related)
        case Workload() if kind == kinds.DEPLOYMENT.singular:
            return _of_deployment(target, port, related)
        case Workload() | ReplicationController():
            return _of_controller(target, port, related, f"{kind} {target.metadata.name}")
        case _:
            return EndpointResult(broken=f"portside does not know how to find the pods of a {kind}")


def _of_deployment(target: Workload, port: int | str, related: RelatedLists) -> EndpointResult:
    """Its ReplicaSets own the pods. If they may not be listed, the name of a pod's ReplicaSet tells the Deployment."""
    name, matching = f"deployment {target.metadata.name}", selected(target.spec.selector, related.pods)
    if related.replica_sets is None:
        key = OwnerKey(target.metadata.namespace, kinds.DEPLOYMENT.singular, target.metadata.name)
        own = [pod for pod in matching if owner_of(pod) == key]
        return _of_owned(own, matching, target.spec.selector, port, name)
    sets = [one for one in related.replica_sets if is_controlled_by(one, target.metadata.uid)]
    own = [pod for pod in matching if any(is_controlled_by(pod, one.metadata.uid) for one in sets)]
    return _of_owned(own, matching, target.spec.selector, port, name, newest_replica_set(sets))


def _of_cron_job(cron_job: CronJob, port: int | str, related: RelatedLists) -> EndpointResult:
    """The pods of the newest job, which kubectl cannot find."""
    name = f"cronjob {cron_job.metadata.name}"
    own = [job for job in related.jobs if is_controlled_by(job, cron_job.metadata.uid)]
    if not own:
        return EndpointResult(waiting_for=f"{name} has not started a job yet")
    newest = max(own, key=lambda job: (job.metadata.creation_timestamp or "", job.metadata.name))
    return _of_controller(newest, port, related, name)


def _of_controller(
    target: Workload | ReplicationController, port: int | str, related: RelatedLists, name: str
) -> EndpointResult:
    plain = target.spec.selector
    selector = plain if isinstance(plain, LabelSelector) else selector_of(plain)
    matching = selected(selector, related.pods)
    own = [pod for pod in matching if is_controlled_by(pod, target.metadata.uid)]
    return _of_owned(own, matching, selector, port, name)


def _of_owned(
    own: list[Pod],
    matching: list[Pod],
    selector: LabelSelector | None,
    port: int | str,
    name: str,
    newest: str = "",
) -> EndpointResult:
    if own:
        return endpoints_from_pods(own, port, name, newest=newest)
    if matching:
        there = f"what matches {selector_text(selector)} ({_names(matching)}) belongs to others"
        return EndpointResult(waiting_for=f"{name} has no pod: {there}")
    return EndpointResult(waiting_for=f"{name}: no pod matches {selector_text(selector)}")


def _names(pods: list[Pod]) -> str:
    names = sorted(pod.metadata.name for pod in pods)
    return ", ".join(names[:NAMED_PODS]) + (f" and {len(names) - NAMED_PODS} more" if len(names) > NAMED_PODS else "")


def _of_service(service: Service, port: int | str, related: RelatedLists) -> EndpointResult:
    name = f"service {service.metadata.name}"
    wanted = service_port(service, port)
    if wanted is None:
        there = ", ".join(f"{p.port}/{p.name}" if p.name else str(p.port) for p in service.spec.ports or ())
        return EndpointResult(broken=f"{name} has no port {port} (it has {there or 'none'})")
    if not service.spec.selector:
        return _of_slices(name, wanted, related)
    selector = selector_of(service.spec.selector)
    pods = selected(selector, related.pods)
    if not pods:
        return EndpointResult(waiting_for=f"{name}: no pod matches {selector_text(selector)}")
    unready_too = service.spec.publish_not_ready_addresses
    return endpoints_from_pods(pods, pods_port(service, wanted), name, unready_too=unready_too)


def _of_slices(name: str, wanted: ServicePort, related: RelatedLists) -> EndpointResult:
    """The pods in EndpointSlices that someone else maintains. Their ports are numbers already."""
    by_uid = {pod.metadata.uid: pod for pod in related.pods.values()}
    by_ip = {address: pod for pod in by_uid.values() for address in pod.addresses}
    pods: dict[str, Pod] = {}
    found: dict[PodRef, tuple[int, bool]] = {}
    strangers: list[str] = []
    for one in related.slices:
        port = next((p.port for p in one.ports or () if (p.name or "", p.protocol or TCP) == (wanted.name, TCP)), None)
        for there in one.endpoints or () if port and is_port(port) else ():
            pod = _pod_of(there, by_uid, by_ip)
            if pod is None:
                strangers += there.addresses
            elif pod.status.phase == "Running" and not pod.deleting and port:
                pods[pod.metadata.uid] = pod
                found[pod_view(pod).ref] = port, there.conditions.ready is not False
    if found:
        old, ranked = outdated(pods.values()), [pod_view(pod).ref for pod in ranking(pods.values())]
        endpoints = [Endpoint(pod, *found[pod], outdated=pod.uid in old) for pod in ranked]
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


def selector_of(labels: Mapping[str, str] | None) -> LabelSelector:
    """The selector of a service or replication controller: equal labels only."""
    return LabelSelector(match_labels=dict(labels or {}))


def selected(selector: LabelSelector | None, objects: Mapping[Key, R]) -> list[R]:
    """The objects that the selector matches. An empty one matches nothing: no controller's may be empty."""
    if selector is None or _is_empty(selector):
        return []
    found = labelled(objects, selector.match_labels or {})
    requirements = selector.match_expressions or ()
    return [item for item in found if all(_meets(one, item.metadata.labels or {}) for one in requirements)]


def selector_text(selector: LabelSelector | None) -> str:
    """The selector as kubectl's -l takes it."""
    if selector is None or _is_empty(selector):
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


def _meets(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(requirement.key), requirement.values or ()
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
