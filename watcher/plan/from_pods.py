"""Owns the verdict on each container port of the run's pods: modes pods and debug. Pure.

After Skaffold's kubernetes/portforward/pod_forwarder.go: a pod counts once one of its images was built by this run,
and then all its containers do; the container's port is asked for, also below 1024. A forward is named after the pods'
owner, so that it outlives them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from forwarders.spec import PortPolicy, PortRequest
from watcher.cluster import kinds
from watcher.cluster.kinds import ContainerPort, Pod
from watcher.config.entries import RuleTarget
from watcher.plan import images
from watcher.plan.debug import debug_ports
from watcher.plan.facts import Facts
from watcher.plan.owners import Owned, owned
from watcher.plan.ports import TCP, staying, unforwardable
from watcher.plan.serving import EndpointResult, serving
from watcher.plan.verdicts import (
    NotRequested,
    PlannedForward,
    ResourceRef,
    Skip,
    Verdict,
    held_by_skaffold,
    left_to_skaffold,
    spec,
    unlisted_kind,
)
from watcher.skaffold.modes import Mode


class _Port(Struct, frozen=True, order=True):
    """What a forward of pods is known by, beside the owner."""

    container: str
    number: int
    name: str
    protocol: str

    @classmethod
    def of(cls, container: str, port: ContainerPort) -> _Port:
        return cls(container, port.container_port, port.name, port.protocol)


def from_pods(facts: Facts) -> Iterator[Verdict]:
    """One verdict for each port and address; one for a container without ports, and for pods that do not count."""
    if facts.containers is not None:
        return
    mode = next((mode for mode in (Mode.PODS, Mode.DEBUG) if mode in facts.modes), None)
    if mode is None:
        for one in owned(facts):
            yield from _unasked(one)
        return
    for one in owned(facts):
        yield from _owned(one, mode, facts)
    yield from unlisted_kind(kinds.POD, mode.value, facts)


def _unasked(one: Owned) -> Iterator[NotRequested]:
    ports = _ports(one)
    yield from _portless(one, ports, Mode.PODS)
    for port in sorted(ports):
        subject = _port_subject(Mode.PODS, one, port)
        yield NotRequested(id=_port_group(Mode.PODS, one, port), subject=subject, reason="modes pods and debug are off")


def _portless(one: Owned, ports: set[_Port], mode: Mode) -> Iterator[NotRequested]:
    for container in dict.fromkeys(c.name for source in one.sources for c in staying(source.spec)):
        if all(port.container != container for port in ports):
            ident, subject = f"{_group(mode, one)}{container}/", _subject(mode, one, container)
            yield NotRequested(id=ident, subject=subject, reason="it declares no port")


def _owned(one: Owned, mode: Mode, facts: Facts) -> Iterator[Verdict]:
    if facts.artifacts and not any(images.is_artifact(image, facts.artifacts) for image in _images(one)):
        reason = f"this run built none of its images ({', '.join(sorted(set(_images(one)))) or 'it has none'})"
        yield NotRequested(id=_group(mode, one), subject=_subject(mode, one), reason=reason)
        return
    if not _has_begun(one, facts):
        yield NotRequested(id=_group(mode, one), subject=_subject(mode, one), reason="none of its pods has run yet")
        return
    if one.finished:
        yield NotRequested(id=_group(mode, one), subject=_subject(mode, one), reason="it has run to its end")
        return
    ports = _ports(one)
    debug: frozenset[tuple[str, int]] = frozenset()
    if mode is Mode.DEBUG:
        try:
            debug = _debug_ports(one)
        except ValueError as error:
            yield Skip(id=_group(mode, one), subject=_subject(mode, one), reason=str(error))
            return
    yield from _portless(one, ports, mode)
    for port in sorted(ports):
        ident, subject = _port_group(mode, one, port), _port_subject(mode, one, port)
        if mode is Mode.DEBUG and (port.container, port.number) not in debug:
            reason = "mode debug: Skaffold's annotation does not list it as a debug port"
            yield NotRequested(id=ident, subject=subject, reason=reason)
        elif unable := unforwardable(ContainerPort(port.number, port.name, port.protocol)):
            yield Skip(id=ident, subject=subject, reason=unable)
        else:
            for address in dict.fromkeys(facts.addresses):
                yield _port(one, port, address, mode, facts)


def _has_begun(one: Owned, facts: Facts) -> bool:
    """In the first deploy of all, pods' forwards begin with the pods: the run's services come first to their ports.

    Later there is a forward as long as there is anything that makes pods.
    """
    settled = facts.deployed or facts.former_run_ids
    return bool(settled) or any(pod.status.phase == "Running" for pod in one.pods)


def _port(one: Owned, port: _Port, address: str, mode: Mode, facts: Facts) -> PlannedForward | Skip:
    group = _port_group(mode, one, port)
    ident, subject = group + address, _port_subject(mode, one, port)
    port_request = PortRequest(PortPolicy.PREFERRED, port.number)
    if reason := _why_not(one, port, ident, port_request, facts):
        return Skip(id=ident, subject=subject, reason=reason)
    found = _find(one, port)
    return PlannedForward(
        id=ident,
        subject=subject,
        # A debugger is there before the pod is Ready, and whoever asks for pods means the pods as they are.
        spec=spec(ident, group, address, port_request, facts, eager=True),
        endpoints=found.endpoints,
        waiting_for=found.waiting_for,
        broken=found.broken,
        because=_because(mode, facts),
        called=_called(port),
    )


def _because(mode: Mode, facts: Facts) -> str:
    whose = "its pod has an image that this run built" if facts.artifacts else "its pod is of this run"
    return f"mode pods: {whose}" if mode is Mode.PODS else f"mode debug: {whose}, and Skaffold lists the port"


def _why_not(one: Owned, port: _Port, ident: str, port_request: PortRequest, facts: Facts) -> str:
    """The reason for a no, or ""."""
    owner = one.owner
    spellings = _called(port)
    if refused := facts.rules.refused(RuleTarget(owner.kind, owner.name, owner.namespace, one.labels, spellings)):
        return refused
    for pod in one.pods:
        own = held_by_skaffold(facts, "pod", pod.metadata.name, owner.namespace, spellings)
        if left := left_to_skaffold(own, ident, port_request, facts):
            return left
    return ""


def _called(port: _Port) -> tuple[int | str, ...]:
    return (port.number, port.name) if port.name else (port.number,)


def _find(one: Owned, port: _Port) -> EndpointResult:
    """Only pods that have this very port: those of an earlier template may not."""
    name = f"{one.owner.kind} {one.owner.name}"
    pods = [pod for pod in one.pods if port in _ports_of(pod)]
    if not pods:
        return EndpointResult(waiting_for=f"{name} has no pod with this port yet")
    return serving(pods, port.number, name)


def _ports(one: Owned) -> set[_Port]:
    return {
        _Port.of(container.name, port)
        for source in one.sources
        for container in staying(source.spec)
        for port in container.ports or ()
    }


def _ports_of(pod: Pod) -> set[_Port]:
    return {_Port.of(container.name, port) for container in staying(pod.spec) for port in container.ports or ()}


def _debug_ports(one: Owned) -> frozenset[tuple[str, int]]:
    """As far as the annotations can be read. Raises ValueError where none of several can."""
    found: set[tuple[str, int]] = set()
    problem: ValueError | None = None
    for source in one.sources:
        try:
            ports = debug_ports(source.annotations)
        except ValueError as error:
            problem = error
        else:
            found |= {(container, number) for container, numbers in ports.items() for number in numbers}
    if problem is not None and not found:
        raise problem
    return frozenset(found)


def _images(one: Owned) -> list[str]:
    return [
        container.image
        for source in one.sources
        for container in chain(source.spec.containers, source.spec.init_containers or ())
    ]


def _group(mode: Mode, one: Owned) -> str:
    return f"{mode.value}/{one.owner.namespace}/{one.owner.kind}/{one.owner.name}/"


def _port_group(mode: Mode, one: Owned, port: _Port) -> str:
    protocol = "" if port.protocol == TCP else f"{port.protocol}/"
    return f"{_group(mode, one)}{port.container}/{port.name}/{port.number}/{protocol}"


def _port_subject(mode: Mode, one: Owned, port: _Port) -> ResourceRef:
    subject = _subject(mode, one, port.container)
    return replace(subject, remote_port=port.number, protocol=port.protocol, port_name=port.name)


def _subject(mode: Mode, one: Owned, container: str = "") -> ResourceRef:
    return ResourceRef(
        source=mode.value,
        resource_type=one.owner.kind,
        resource_name=one.owner.name,
        namespace=one.owner.namespace,
        container=container,
    )
