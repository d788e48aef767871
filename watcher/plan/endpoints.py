"""Owns the way from a target to the pods that may serve it. Pure.

As kubectl and Skaffold choose (kubectl pkg/polymorphichelpers, skaffold kubernetes/portforward/kubectl_forwarder.go),
but for every pod: those being deleted are out, Ready ones come first, the newest first among equals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain

from msgspec import Struct

from forwarders.spec import Endpoint, PodRef
from watcher.cluster.collection import Key
from watcher.cluster.objects import (
    Container,
    ContainerPort,
    CronJob,
    EndpointSlice,
    Event,
    LabelSelector,
    Object,
    Pod,
    PodSpec,
    ReplicationController,
    Service,
    ServicePort,
    SliceEndpoint,
    Workload,
)
from watcher.plan import selectors
from watcher.plan.arrivals import with_sandbox

# How many pods a reason names: a line is to stay a line.
NAMED_PODS = 3


class Found(Struct, frozen=True):
    """The pods for a target. `waiting_for`: why there are none. `broken`: why there can be none until it changes.

    `starting`: there will be another one soon.
    """

    endpoints: tuple[Endpoint, ...] = ()
    waiting_for: str = ""
    broken: str = ""
    starting: bool = False


class Neighbours(Struct, frozen=True):
    """What else there is in the target's namespace. `slices`: the EndpointSlices of a service without selector.

    `sandboxes`: arrivals.sandboxes.
    """

    pods: Mapping[Key, Pod] = {}
    jobs: Iterable[Workload] = ()
    slices: Iterable[EndpointSlice] = ()
    sandboxes: Mapping[Key, Event] = {}


def endpoints_of(target: Object, kind: str, port: int | str, beside: Neighbours) -> Found:
    """Where connections to `port` of `target` may go. `kind` is its singular."""
    match target:
        case Pod():
            return serving([target], port, f"pod {target.metadata.name}", beside.sandboxes)
        case Service():
            return _of_service(target, port, beside)
        case CronJob():
            return _of_cron_job(target, port, beside)
        case ReplicationController():
            selector = selectors.selector_of(target.spec.selector)
            return _selected(selector, port, beside, f"{kind} {target.metadata.name}")
        case Workload():
            return _selected(target.spec.selector, port, beside, f"{kind} {target.metadata.name}")
        case _:
            return Found(broken=f"portside does not know how to find the pods of a {kind}")


def service_port(service: Service, port: int | str) -> ServicePort | None:
    """The service's port by number or name; the TCP one where a number stands for several."""
    named = [p for p in service.spec.ports or () if port in {p.port, p.name}]
    return min(named, key=lambda p: p.protocol != "TCP", default=None)


def unforwardable(port: ServicePort | ContainerPort | None) -> str:
    """Why a port cannot be forwarded whatever its pods do, or ""."""
    if port is None or port.protocol == "TCP":
        return ""
    number = port.port if isinstance(port, ServicePort) else port.container_port
    return f"port {number} is {port.protocol}, and Kubernetes forwards TCP only"


def unreachable(service: Service, port: ServicePort | None) -> str:
    """Why a service's port cannot be forwarded whatever happens to its pods, or ""."""
    if service.spec.type == "ExternalName":
        return f"it is an ExternalName for {service.spec.external_name}: there is no pod behind it"
    return unforwardable(port)


def spellings(target: Object | None, port: int | str) -> tuple[int | str, ...]:
    """`port`, and how else it is called: its number, its name."""
    found: tuple[int | str, ...] = ()
    if isinstance(target, Service) and (one := service_port(target, port)) is not None:
        found = (one.port, one.name)
    elif (spec := _pod_spec(target)) is not None:
        declared = (p for p in chain.from_iterable(c.ports or () for c in staying(spec)))
        found = next(((p.container_port, p.name) for p in declared if port in {p.container_port, p.name}), ())
    return tuple(dict.fromkeys((port, *(spelling for spelling in found if spelling))))


def _pod_spec(target: Object | None) -> PodSpec | None:
    match target:
        case Pod():
            return target.spec
        case Workload() | ReplicationController():
            return target.spec.template.spec
    return None


def _of_service(service: Service, port: int | str, beside: Neighbours) -> Found:
    name = f"service {service.metadata.name}"
    wanted = service_port(service, port)
    if wanted is None:
        there = ", ".join(f"{p.port}/{p.name}" if p.name else str(p.port) for p in service.spec.ports or ())
        return Found(broken=f"{name} has no port {port} (it has {there or 'none'})")
    if not service.spec.selector:
        return _of_slices(name, wanted, beside)
    selector = selectors.selector_of(service.spec.selector)
    return _selected(selector, wanted.target_port or wanted.port, beside, name)


def _of_slices(name: str, wanted: ServicePort, beside: Neighbours) -> Found:
    """The pods behind a service that somebody else keeps the EndpointSlices of. Their ports are numbers already."""
    by_uid = {pod.metadata.uid: pod for pod in beside.pods.values()}
    by_ip = {pod.status.pod_ip: pod for pod in by_uid.values() if pod.status.pod_ip}
    endpoints: dict[PodRef, Endpoint] = {}
    strangers: list[str] = []
    for one in beside.slices:
        port = next((p.port for p in one.ports or () if (p.name or "") == wanted.name and p.port), None)
        for there in one.endpoints or () if port else ():
            pod = _pod_of(there, by_uid, by_ip)
            if pod is None:
                strangers += there.addresses
            elif pod.status.phase == "Running" and not pod.deleting and port:
                ref = _ref(pod)
                endpoints[ref] = Endpoint(ref, port, pod.ready and there.conditions.ready is not False)
    if endpoints:
        ranked = sorted(endpoints.values(), key=lambda endpoint: (not endpoint.ready, endpoint.pod.name))
        return Found(tuple(ranked), waiting_for="" if ranked[0].ready else f"no pod of {name} is ready")
    if strangers:
        shown = ", ".join(strangers[:NAMED_PODS])
        return Found(
            broken=f"{name} has no selector and leads to {shown}: that is no pod, and only pods can be reached"
        )
    return Found(waiting_for=f"{name} has no selector, and no EndpointSlice of it has an address for this port yet")


def _pod_of(there: SliceEndpoint, by_uid: Mapping[str, Pod], by_ip: Mapping[str, Pod]) -> Pod | None:
    if there.target_ref is not None and there.target_ref.kind == "Pod":
        return by_uid.get(there.target_ref.uid)
    return next((by_ip[address] for address in there.addresses if address in by_ip), None)


def _of_cron_job(cron_job: CronJob, port: int | str, beside: Neighbours) -> Found:
    """The pods of the newest job: what kubectl cannot do."""
    uid, name = cron_job.metadata.uid, f"cronjob {cron_job.metadata.name}"
    own = [job for job in beside.jobs if any(owner.uid == uid for owner in job.metadata.owner_references or ())]
    if not own:
        return Found(waiting_for=f"{name} has not started a job yet")
    newest = max(own, key=lambda job: (job.metadata.creation_timestamp or "", job.metadata.name))
    return _selected(newest.spec.selector, port, beside, name)


def _selected(selector: LabelSelector | None, port: int | str, beside: Neighbours, name: str) -> Found:
    own = selectors.selected(selector, beside.pods)
    if not own:
        return Found(waiting_for=f"{name}: no pod matches {selectors.text(selector)}")
    return serving(own, port, name, beside.sandboxes)


def serving(pods: list[Pod], port: int | str, name: str, sandboxes: Mapping[Key, Event] = {}) -> Found:
    """Those of `pods` that run, the best first, then those that have a sandbox. `name`: whose they are, for reasons."""
    ranked = ranking(pods)
    running = [pod for pod in ranked if pod.status.phase == "Running" and not pod.deleting]
    starting = [pod for pod in ranked if pod.starting]
    endpoints = tuple(
        Endpoint(_ref(pod), number, pod.ready, running=not pod.starting)
        for pod in (*running, *with_sandbox(starting, sandboxes))
        if (number := _number(pod, port)) is not None
    )
    if running and not endpoints:
        return Found(broken=_undeclared(running[0], port, name), starting=bool(starting))
    if any(endpoint.ready for endpoint in endpoints):
        return Found(endpoints, starting=bool(starting))
    states = ", ".join(_state(pod) for pod in ranked[:NAMED_PODS])
    return Found(endpoints, waiting_for=f"no pod of {name} is ready: {states}", starting=bool(starting))


def _ref(pod: Pod) -> PodRef:
    return PodRef(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid)


def ranking(pods: Iterable[Pod]) -> list[Pod]:
    """Ready ones first, the newest first."""
    return sorted(sorted(pods, key=_name), key=_rank, reverse=True)


def _name(pod: Pod) -> str:
    return pod.metadata.name


def _rank(pod: Pod) -> tuple[bool, str]:
    """Timestamps are RFC 3339 in UTC and to the second: their order is that of the texts."""
    return pod.ready, pod.metadata.creation_timestamp or ""


def _number(pod: Pod, port: int | str) -> int | None:
    """The number of a port in this pod; a number needs no declaration."""
    if isinstance(port, int):
        return port
    declared = _declared(pod, port)
    return declared.container_port if declared is not None and not unforwardable(declared) else None


def _declared(pod: Pod, name: str) -> ContainerPort | None:
    return next((port for port in _ports(pod) if port.name == name), None)


def staying(spec: PodSpec) -> tuple[Container, ...]:
    """The containers that stay: an init container that restarts is a sidecar."""
    return (*spec.containers, *(c for c in spec.init_containers or () if c.restart_policy == "Always"))


def _ports(pod: Pod) -> Iterable[ContainerPort]:
    return chain.from_iterable(container.ports or () for container in staying(pod.spec))


def _undeclared(pod: Pod, port: int | str, name: str) -> str:
    if unable := unforwardable(_declared(pod, str(port))):
        return f"{name}: {unable}"
    there = ", ".join(f"{p.container_port}/{p.name}" for p in _ports(pod) if p.name)
    return f"{name}: no container of pod {pod.metadata.name} declares a port named {port} (it has {there or 'none'})"


def _state(pod: Pod) -> str:
    if pod.deleting:
        return f"{pod.metadata.name} is Terminating"
    waiting = [s.state.waiting.reason for s in pod.status.container_statuses or () if s.state and s.state.waiting]
    detail = next((f" ({reason})" for reason in waiting if reason), "")
    phase = pod.status.phase or "Pending"
    return f"{pod.metadata.name} is {'Running but not Ready' if phase == 'Running' else phase}{detail}"
