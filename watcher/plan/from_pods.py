"""The verdict on each container port of the run's pods: modes pods and debug. Pure.

After Skaffold's kubernetes/portforward/pod_forwarder.go: a pod counts if this run built one of its images, and then all
its containers do. The container's own port is requested locally, also below 1024. A forward is named after the pods'
owner, so it outlives them.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from forwarders.spec import PortPolicy, PortRequest
from watcher.cluster import kinds
from watcher.config.entries import RuleTarget
from watcher.plan import run
from watcher.plan.facts import Facts
from watcher.plan.pods import EndpointResult, Steps, endpoints_from_pods, pod_view
from watcher.plan.ports import TCP, PodPort, debug_ports, unforwardable
from watcher.plan.run import OwnedPods
from watcher.plan.verdicts import (
    FoundPort,
    NotRequested,
    ResourceRef,
    Skip,
    Verdict,
    held_by_skaffold,
    unlisted_kind,
    verdicts_on,
)
from watcher.skaffold.modes import Mode

# A container and the number of one of its ports.
DebugPorts = frozenset[tuple[str, int]]


def from_pods(facts: Facts) -> Iterator[Verdict | None]:
    """One verdict for each port and address; one for a container without ports, and for pods that do not count.

    None is a moment to pause.
    """
    if facts.containers is not None:
        return
    mode = facts.pod_mode
    for one in run.pods_by_owner(facts):
        if one is None:
            yield None
        else:
            yield from _of_owner(one, mode, facts)
    if mode is not None:
        yield from unlisted_kind(kinds.POD, mode.value, facts)


def _of_owner(one: OwnedPods, mode: Mode | None, facts: Facts) -> Iterator[Verdict | None]:
    owner, source = one.owner, (mode or Mode.PODS).value
    whole = ResourceRef(source=source, resource_type=owner.kind, resource_name=owner.name, namespace=owner.namespace)
    if mode is not None and (reason := _does_not_count(one, facts)):
        yield NotRequested(id=whole.key, subject=whole, reason=reason)
        return
    annotations = [shape.debug for shape in one.shapes if shape.debug is not None]
    try:
        debug = debug_ports(annotations) if mode is Mode.DEBUG else None
    except ValueError as error:
        yield Skip(id=whole.key, subject=whole, reason=str(error))
        return
    ports = frozenset[PodPort]().union(*(shape.ports for shape in one.shapes))
    with_port = {port.container for port in ports}
    for container in dict.fromkeys(name for shape in one.shapes for name in shape.containers):
        if container not in with_port:
            subject = replace(whole, container=container)
            yield NotRequested(id=f"{whole.key}{container}/", subject=subject, reason="it declares no port")
    for port in sorted(ports):
        yield from verdicts_on(_found(one, port, whole, mode, debug, facts), _find(one, port), facts)


def _does_not_count(one: OwnedPods, facts: Facts) -> str:
    """The reason why none of the owner's ports is requested, or "".

    In the first deploy the forwards of pods begin when a pod runs, so that the run's services get their ports first.
    Later a forward lasts as long as something makes pods.
    """
    images = {image for shape in one.shapes for image in shape.images}
    if facts.artifacts and not any(map(run.artifact_index(facts.artifacts).has, images)):
        return f"this run built none of its images ({', '.join(sorted(images)) or 'it has none'})"
    first_deploy = not (facts.deployed or facts.former_run_ids)
    if first_deploy and all(pod.status.phase != "Running" for pod in one.pods):
        return "none of its pods has run yet"
    return "it has run to its end" if one.finished else ""


def _found(
    one: OwnedPods, port: PodPort, whole: ResourceRef, mode: Mode | None, debug: DebugPorts | None, facts: Facts
) -> FoundPort:
    """One port of an owner's pods, with what decides on it. `debug`: the debug ports, None unless the mode is debug."""
    owner, names = one.owner, (pod.metadata.name for pod in one.pods)
    of_rule = RuleTarget(owner.kind, owner.name, owner.namespace, one.labels, port.called)
    protocol = "" if port.protocol == TCP else f"{port.protocol}/"
    whose = "its pod has an image that this run built" if facts.artifacts else "its pod is of this run"
    not_requested = "modes pods and debug are off" if mode is None else ""
    if debug is not None and (port.container, port.number) not in debug:
        not_requested = "mode debug: Skaffold's annotation does not list it as a debug port"
    return FoundPort(
        group=f"{whole.key}{port.container}/{port.name}/{port.number}/{protocol}",
        subject=replace(
            whole, container=port.container, remote_port=port.number, protocol=port.protocol, port_name=port.name
        ),
        local_port=PortRequest(PortPolicy.PREFERRED, port.number),
        because=f"mode debug: {whose}, and Skaffold lists the port" if debug is not None else f"mode pods: {whose}",
        called=port.called,
        not_requested=not_requested,
        unable=unforwardable(port.protocol, port.number),
        refused=facts.rules.refused(of_rule),
        held_by=held_by_skaffold("pod", names, owner.namespace, port.called, facts),
        # A debugger connects before the pod is Ready, and modes pods and debug mean the pods as they are.
        eager=True,
    )


def _find(one: OwnedPods, port: PodPort) -> Steps[EndpointResult]:
    """The endpoints of one port, in the pods that have it: those of an earlier template may not."""
    name = f"{one.owner.kind} {one.owner.name}"
    pods = [pod for pod in one.pods if port in pod_view(pod).shape.ports]
    if not pods:
        return EndpointResult(waiting_for=f"{name} has no pod with this port yet")
    return (yield from endpoints_from_pods(pods, port.number, name))
