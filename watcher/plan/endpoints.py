"""Owns the way from a target to the pods that may serve it. Pure.

As kubectl and Skaffold choose (kubectl pkg/polymorphichelpers, skaffold kubernetes/portforward/kubectl_forwarder.go),
but for every pod: those being deleted are out, Ready ones come first, the newest first among equals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from forwarders.spec import Endpoint, PodRef
from watcher.cluster.objects import (
    CronJob,
    LabelSelector,
    Object,
    Pod,
    ReplicationController,
    Requirement,
    Service,
    ServicePort,
    Workload,
)

Labels = dict[str, str]


class Found(Struct, frozen=True):
    """The pods for a target. `waiting_for`: why there are none. `broken`: why there can be none until it changes."""

    endpoints: tuple[Endpoint, ...] = ()
    waiting_for: str = ""
    broken: str = ""


def endpoints_of(target: Object, port: int | str, pods: Iterable[Pod], jobs: Iterable[Workload] = ()) -> Found:
    """Where connections to `port` of `target` may go. `pods` and `jobs` are those of its namespace."""
    match target:
        case Pod():
            return _serving([target], lambda pod: port_of(pod, port), port, f"pod {target.metadata.name}")
        case Service():
            return _of_service(target, port, pods)
        case CronJob():
            return _of_cron_job(target, port, pods, jobs)
        case ReplicationController():
            name = f"replicationcontroller {target.metadata.name}"
            return _of_selector(lambda labels: _has(labels, target.spec.selector), name, port, pods)
        case Workload():
            name = target.metadata.name
            return _of_selector(lambda labels: _selects(target.spec.selector, labels), name, port, pods)
        case _:
            return Found(broken=f"portside does not know how to find pods of a {type(target).__name__}")


def port_of(pod: Pod, port: int | str) -> int | None:
    """The number of a port in this pod; a number needs no declaration."""
    if isinstance(port, int):
        return port
    containers = [*pod.spec.containers, *(c for c in pod.spec.init_containers or () if c.restart_policy == "Always")]
    ports = (declared for container in containers for declared in container.ports or ())
    return next((declared.container_port for declared in ports if declared.name == port), None)


def service_port(service: Service, port: int | str) -> ServicePort | None:
    """The service's port by number or name."""
    return next((p for p in service.spec.ports or () if port in {p.port, p.name}), None)


def _of_service(service: Service, port: int | str, pods: Iterable[Pod]) -> Found:
    name = f"service {service.metadata.name}"
    if service.spec.type == "ExternalName":
        return Found(broken=f"{name} is an ExternalName for {service.spec.external_name}: there is no pod behind it")
    wanted = service_port(service, port)
    if wanted is None:
        there = ", ".join(f"{p.port}/{p.name}" if p.name else str(p.port) for p in service.spec.ports or ())
        return Found(broken=f"{name} has no port {port} (it has {there or 'none'})")
    if not service.spec.selector:
        return Found(broken=f"{name} has no selector: name one of its pods, or what made them")
    target = wanted.target_port or wanted.port
    return _of_selector(lambda labels: _has(labels, service.spec.selector), name, target, pods)


def _of_cron_job(cron_job: CronJob, port: int | str, pods: Iterable[Pod], jobs: Iterable[Workload]) -> Found:
    """The newest pod of the newest job: what kubectl cannot do."""
    uid, name = cron_job.metadata.uid, f"cronjob {cron_job.metadata.name}"
    own = [job for job in jobs if any(owner.uid == uid for owner in job.metadata.owner_references or ())]
    if not own:
        return Found(waiting_for=f"{name} has not started a job yet")
    newest = max(own, key=lambda job: (job.metadata.creation_timestamp or "", job.metadata.name))
    return _of_selector(lambda labels: _selects(newest.spec.selector, labels), name, port, pods)


def _of_selector(matches: Callable[[Labels], bool], name: str, port: int | str, pods: Iterable[Pod]) -> Found:
    own = [pod for pod in pods if matches(pod.metadata.labels or {})]
    if not own:
        return Found(waiting_for=f"{name} has no pod")
    return _serving(own, lambda pod: port_of(pod, port), port, name)


def _serving(pods: list[Pod], number: Callable[[Pod], int | None], port: int | str, name: str) -> Found:
    running = [pod for pod in pods if pod.status.phase == "Running" and not pod.deleting]
    endpoints = tuple(
        Endpoint(PodRef(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid), found, pod.ready)
        for pod in sorted(sorted(running, key=_name), key=_rank, reverse=True)
        if (found := number(pod)) is not None
    )
    if running and not endpoints:
        return Found(broken=f"{name}: no container of pod {running[0].metadata.name} declares a port named {port}")
    if any(endpoint.ready for endpoint in endpoints):
        return Found(endpoints)
    return Found(endpoints, waiting_for=f"no pod of {name} is ready: " + ", ".join(_state(pod) for pod in pods[:3]))


def _rank(pod: Pod) -> tuple[bool, str]:
    return pod.ready, pod.metadata.creation_timestamp or ""


def _name(pod: Pod) -> str:
    return pod.metadata.name


def _state(pod: Pod) -> str:
    if pod.deleting:
        return f"{pod.metadata.name} is Terminating"
    waiting = [s.state.waiting.reason for s in pod.status.container_statuses or () if s.state and s.state.waiting]
    detail = f" ({waiting[0]})" if waiting and waiting[0] else ""
    return f"{pod.metadata.name} is {pod.status.phase or 'Pending'}{detail}"


def _has(labels: Labels, wanted: Labels | None) -> bool:
    return bool(wanted) and (wanted or {}).items() <= labels.items()


def _selects(selector: LabelSelector | None, labels: Labels) -> bool:
    """metav1.LabelSelector; one without any requirement selects nothing here, since no controller's may be empty."""
    if selector is None or not (selector.match_labels or selector.match_expressions):
        return False
    return (selector.match_labels or {}).items() <= labels.items() and all(
        _meets(requirement, labels) for requirement in selector.match_expressions or ()
    )


def _meets(requirement: Requirement, labels: Labels) -> bool:
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
