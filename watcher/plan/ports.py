"""Ports of services and pods: their numbers and names, which can be forwarded, and which are for debuggers. Pure.

Kubernetes forwards TCP only, and one name may stand for a UDP port in one container and a TCP port in another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import chain

import msgspec
from msgspec import Struct

from forwarders.spec import MAX_PORT
from watcher.cluster.kinds import (
    ContainerPort,
    CronJob,
    Object,
    Pod,
    PodContainer,
    PodSpec,
    ReplicationController,
    Service,
    ServicePort,
    Workload,
)

TCP = "TCP"
# The clusterIP of a service without an address of its own.
HEADLESS = "None"
# Skaffold's annotation: {container: {artifact, runtime, workingDir, ports: {name: number}}}
# (skaffold pkg/skaffold/debug/types).
DEBUG_ANNOTATION = "debug.cloud.google.com/config"


def service_port(service: Service, port: int | str) -> ServicePort | None:
    """The service's port by number or name; the TCP one if several match."""
    named = [p for p in service.spec.ports or () if port in {p.port, p.name}]
    return min(named, key=lambda p: p.protocol != TCP, default=None)


def pods_port(service: Service, port: ServicePort) -> int | str:
    """The number or name of a service's port in its pods.

    A headless service has no targetPort: its clients connect to the pods' addresses directly, and so does kubectl.
    """
    return port.port if service.spec.cluster_ip == HEADLESS else port.target_port or port.port


def container_port(spec: PodSpec, port: int | str) -> ContainerPort | None:
    """The port that a container declares, by number or name; the TCP one if several match."""
    named = [p for p in declared(spec) if port in {p.container_port, p.name}]
    return min(named, key=lambda p: p.protocol != TCP, default=None)


def number_in(pod: Pod, port: int | str) -> int | None:
    """The number of a port in this pod. A port given as a number need not be declared."""
    if isinstance(port, int):
        return port
    found = container_port(pod.spec, port)
    return found.container_port if found and not unforwardable(found.protocol, found.container_port) else None


def is_port(number: int) -> bool:
    """Whether the number is a TCP port. A real API server accepts no other ones."""
    return 1 <= number <= MAX_PORT


def unforwardable(protocol: str, number: int, target: int | str | None = None) -> str:
    """Why a port cannot be forwarded whatever its pods do, or "". `target`: a service's targetPort."""
    for one in (number, target or number):
        if isinstance(one, int) and not is_port(one):
            return f"{one} is no port: ports are numbers from 1 to {MAX_PORT}"
    return "" if protocol == TCP else f"port {number} is {protocol}, and Kubernetes forwards TCP only"


def unreachable(service: Service, port: ServicePort | None) -> str:
    """Why a service's port cannot be forwarded whatever happens to its pods, or ""."""
    if service.spec.type == "ExternalName":
        return f"it is an ExternalName for {service.spec.external_name}: there is no pod behind it"
    return unforwardable(port.protocol, port.port, port.target_port) if port is not None else ""


def asked_number(target: Object | None, port: int | str) -> int | None:
    """The local port that kubectl takes for a port of `target` given by name; None if the name is unknown."""
    return next((one for one in spellings(target, port)[1:] if isinstance(one, int) and is_port(one)), None)


def spellings(target: Object | None, port: int | str) -> tuple[int | str, ...]:
    """`port`, its number and its name, as far as they are known."""
    found: tuple[int | str, ...] = ()
    if isinstance(target, Service):
        if (of_service := service_port(target, port)) is not None:
            found = (of_service.port, of_service.name)
    elif (spec := pod_spec(target)) is not None and (of_pod := container_port(spec, port)) is not None:
        found = (of_pod.container_port, of_pod.name)
    return tuple(dict.fromkeys((port, *(spelling for spelling in found if spelling))))


def pod_spec(target: Object | None) -> PodSpec | None:
    """The spec of the pods of `target`."""
    match target:
        case Pod():
            return target.spec
        case Workload() | ReplicationController():
            return target.spec.template.spec
        case CronJob():
            return target.spec.job_template.spec.template.spec
    return None


def staying(spec: PodSpec) -> tuple[PodContainer, ...]:
    """The containers that keep running: an init container that restarts is a sidecar. Ephemeral ones have no ports."""
    return (*spec.containers, *(c for c in spec.init_containers or () if c.restart_policy == "Always"))


def declared(spec: PodSpec) -> Iterable[ContainerPort]:
    return chain.from_iterable(container.ports or () for container in staying(spec))


def undeclared(pod: Pod, port: int | str, name: str) -> str:
    """Why `port` has no number in this pod. `name`: the target, for the reason."""
    found = container_port(pod.spec, port)
    if found is not None and (unable := unforwardable(found.protocol, found.container_port)):
        return f"{name}: {unable}"
    there = ", ".join(f"{p.container_port}/{p.name}" for p in declared(pod.spec) if p.name)
    return f"{name}: no container of pod {pod.metadata.name} declares a port named {port} (it has {there or 'none'})"


class PodPort(Struct, frozen=True, order=True):
    """A port of pods with one owner: the fields that identify its forward."""

    container: str
    number: int
    name: str
    protocol: str

    @property
    def called(self) -> tuple[int | str, ...]:
        return (self.number, self.name) if self.name else (self.number,)


class PodShape(Struct, frozen=True):
    """What pods of one template have in common. `containers`: the names of those that keep running.

    `debug`: the text of Skaffold's annotation for debuggers, or None.
    """

    containers: tuple[str, ...]
    images: tuple[str, ...]
    ports: frozenset[PodPort]
    debug: str | None


@lru_cache(maxsize=4096)  # thousands of pods have a few shapes, which the plan then tells apart by identity
def pod_shape(spec: PodSpec, debug: str | None) -> PodShape:
    """The shape of a pod or template. Equal shapes are one object."""
    kept = staying(spec)
    return PodShape(
        containers=tuple(dict.fromkeys(container.name for container in kept)),
        images=tuple(container.image for container in chain(spec.containers, spec.init_containers or ())),
        ports=frozenset(
            PodPort(container.name, port.container_port, port.name, port.protocol)
            for container in kept
            for port in container.ports or ()
        ),
        debug=debug,
    )


class _DebuggedContainer(Struct, frozen=True):
    ports: dict[str, int] | None = None


_debug_decoder = msgspec.json.Decoder(dict[str, _DebuggedContainer])


def debug_annotation(annotations: Mapping[str, str] | None) -> str | None:
    return (annotations or {}).get(DEBUG_ANNOTATION)


def debug_ports(annotations: Iterable[str]) -> frozenset[tuple[str, int]]:
    """The debug ports, each with its container, in all annotations that can be read.

    Raises ValueError if an annotation is invalid and no other one has a port.
    """
    found: set[tuple[str, int]] = set()
    problem: ValueError | None = None
    for annotation in annotations:
        try:
            containers = _debug_decoder.decode(annotation)
        except (msgspec.DecodeError, RecursionError) as error:
            problem = ValueError(f"its annotation {DEBUG_ANNOTATION} cannot be read: {error}")
        else:
            found |= {(name, number) for name, one in containers.items() for number in (one.ports or {}).values()}
    if problem is not None and not found:
        raise problem
    return frozenset(found)
