"""Finds the pods that may serve a target, by its kind. Pure.

A workload's pods are those that it owns: charts put the same labels on several workloads, so a selector alone also
finds the pods of others (kubectl and Skaffold do). The selector narrows the search; the owner references decide. A
service's pods are those of its endpoints: by its selector, or by its EndpointSlices where it has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
    Resource,
    Service,
    ServicePort,
    SliceEndpoint,
    Workload,
)
from watcher.cluster.store import Key
from watcher.plan import selectors
from watcher.plan.controllers import Owner, is_controlled_by, newest_replica_set, owner_of
from watcher.plan.ports import TCP, is_port, pods_port, service_port
from watcher.plan.ranking import outdated, ranking
from watcher.plan.serving import NAMED_PODS, EndpointResult, ref, serving


class Neighbours(Struct, frozen=True):
    """What else there is in the target's namespace. `slices`: the EndpointSlices of a service without selector.

    `replica_sets`: None where they may not be listed.
    """

    pods: Mapping[Key, Pod] = {}
    jobs: Iterable[Workload] = ()
    slices: Iterable[EndpointSlice] = ()
    replica_sets: Iterable[Resource] | None = ()


def endpoints_of(target: Object, kind: str, port: int | str, beside: Neighbours) -> EndpointResult:
    """Where connections to `port` of `target` may go. `kind` is its singular."""
    match target:
        case Pod():
            return serving([target], port, f"pod {target.metadata.name}")
        case Service():
            return _of_service(target, port, beside)
        case CronJob():
            return _of_cron_job(target, port, beside)
        case Workload() if kind == kinds.DEPLOYMENT.singular:
            return _of_deployment(target, port, beside)
        case Workload() | ReplicationController():
            return _owned(target, port, beside, f"{kind} {target.metadata.name}")
        case _:
            return EndpointResult(broken=f"portside does not know how to find the pods of a {kind}")


def _of_deployment(target: Workload, port: int | str, beside: Neighbours) -> EndpointResult:
    """Its ReplicaSets own the pods. Where they may not be listed, a pod's own ReplicaSet has to be named after it."""
    name, labelled = f"deployment {target.metadata.name}", selectors.selected(target.spec.selector, beside.pods)
    if beside.replica_sets is None:
        named = Owner(target.metadata.namespace, kinds.DEPLOYMENT.singular, target.metadata.name)
        own = [pod for pod in labelled if owner_of(pod) == named]
        return _served(own, labelled, target.spec.selector, port, name)
    sets = [one for one in beside.replica_sets if is_controlled_by(one, target.metadata.uid)]
    own = [pod for pod in labelled if any(is_controlled_by(pod, one.metadata.uid) for one in sets)]
    return _served(own, labelled, target.spec.selector, port, name, newest_replica_set(sets))


def _of_cron_job(cron_job: CronJob, port: int | str, beside: Neighbours) -> EndpointResult:
    """The pods of the newest job: what kubectl cannot do."""
    name = f"cronjob {cron_job.metadata.name}"
    own = [job for job in beside.jobs if is_controlled_by(job, cron_job.metadata.uid)]
    if not own:
        return EndpointResult(waiting_for=f"{name} has not started a job yet")
    newest = max(own, key=lambda job: (job.metadata.creation_timestamp or "", job.metadata.name))
    return _owned(newest, port, beside, name)


def _owned(target: Workload | ReplicationController, port: int | str, beside: Neighbours, name: str) -> EndpointResult:
    plain = target.spec.selector
    selector = plain if isinstance(plain, LabelSelector) else selectors.selector_of(plain)
    labelled = selectors.selected(selector, beside.pods)
    own = [pod for pod in labelled if is_controlled_by(pod, target.metadata.uid)]
    return _served(own, labelled, selector, port, name)


def _served(
    own: list[Pod],
    labelled: list[Pod],
    selector: LabelSelector | None,
    port: int | str,
    name: str,
    newest: str = "",
) -> EndpointResult:
    if own:
        return serving(own, port, name, newest=newest)
    if labelled:
        text = f"{name} has no pod: what matches {selectors.text(selector)} ({_named(labelled)}) belongs to others"
        return EndpointResult(waiting_for=text)
    return EndpointResult(waiting_for=f"{name}: no pod matches {selectors.text(selector)}")


def _named(pods: list[Pod]) -> str:
    names = sorted(pod.metadata.name for pod in pods)
    return ", ".join(names[:NAMED_PODS]) + (f" and {len(names) - NAMED_PODS} more" if len(names) > NAMED_PODS else "")


def _of_service(service: Service, port: int | str, beside: Neighbours) -> EndpointResult:
    name = f"service {service.metadata.name}"
    wanted = service_port(service, port)
    if wanted is None:
        there = ", ".join(f"{p.port}/{p.name}" if p.name else str(p.port) for p in service.spec.ports or ())
        return EndpointResult(broken=f"{name} has no port {port} (it has {there or 'none'})")
    if not service.spec.selector:
        return _of_slices(name, wanted, beside)
    selector = selectors.selector_of(service.spec.selector)
    pods = selectors.selected(selector, beside.pods)
    if not pods:
        return EndpointResult(waiting_for=f"{name}: no pod matches {selectors.text(selector)}")
    unready_too = service.spec.publish_not_ready_addresses
    return serving(pods, pods_port(service, wanted), name, unready_too=unready_too)


def _of_slices(name: str, wanted: ServicePort, beside: Neighbours) -> EndpointResult:
    """The pods behind a service that somebody else keeps the EndpointSlices of. Their ports are numbers already."""
    by_uid = {pod.metadata.uid: pod for pod in beside.pods.values()}
    by_ip = {address: pod for pod in by_uid.values() for address in _addresses(pod)}
    pods: dict[str, Pod] = {}
    found: dict[PodRef, tuple[int, bool]] = {}
    strangers: list[str] = []
    for one in beside.slices:
        port = next((p.port for p in one.ports or () if (p.name or "", p.protocol or TCP) == (wanted.name, TCP)), None)
        for there in one.endpoints or () if port and is_port(port) else ():
            pod = _pod_of(there, by_uid, by_ip)
            if pod is None:
                strangers += there.addresses
            elif pod.status.phase == "Running" and not pod.deleting and port:
                pods[pod.metadata.uid] = pod
                found[ref(pod)] = port, there.conditions.ready is not False
    if found:
        old, ranked = outdated(pods.values()), [ref(pod) for pod in ranking(pods.values())]
        endpoints = [Endpoint(pod, *found[pod], outdated=pod.uid in old) for pod in ranked]
        endpoints.sort(key=lambda endpoint: not endpoint.ready)
        return EndpointResult(tuple(endpoints), waiting_for="" if endpoints[0].ready else f"no pod of {name} is ready")
    if strangers:
        shown = ", ".join(strangers[:NAMED_PODS])
        return EndpointResult(
            broken=f"{name} has no selector and leads to {shown}: that is no pod, and only pods can be reached"
        )
    return EndpointResult(
        waiting_for=f"{name} has no selector, and no EndpointSlice of it has an address for this port yet"
    )


def _addresses(pod: Pod) -> Iterable[str]:
    """Those that are its own; one that has ended keeps them in its status, though others have them now."""
    if pod.status.phase in {"Succeeded", "Failed"}:
        return ()
    return filter(None, (pod.status.pod_ip, *(one.ip for one in pod.status.pod_ips or ())))


def _pod_of(there: SliceEndpoint, by_uid: Mapping[str, Pod], by_ip: Mapping[str, Pod]) -> Pod | None:
    if there.target_ref is not None and there.target_ref.kind == "Pod":
        return by_uid.get(there.target_ref.uid)
    return next((by_ip[address] for address in there.addresses if address in by_ip), None)
