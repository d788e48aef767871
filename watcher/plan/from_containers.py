"""Owns the verdict on entries for containers of Skaffold's Docker deployer. Pure.

After Skaffold's pkg/skaffold/docker/port_manager.go, which publishes the ports of its entries itself: those are shown
as they are, and never bound here; what Docker does not publish is forwarded to the container's own address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from forwarders.spec import Endpoint, PodRef
from watcher.cluster.kinds import RUN_ID_LABEL
from watcher.config.entries import CONTAINER, DEFAULT_ADDRESS, Entry, RuleTarget
from watcher.docker.containers import Containers, DockerContainer, PublishedPort
from watcher.plan import images
from watcher.plan.facts import Facts
from watcher.plan.serving import EndpointResult
from watcher.plan.verdicts import NotRequested, PlannedForward, Published, ResourceRef, Skip, spec
from watcher.skaffold.modes import Mode

# Where Docker listens on all addresses, this one leads there.
_ANYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104 - compared with, not bound
ELSEWHERE = "the project deploys to Kubernetes; containers belong to Skaffold's Docker deployer"


def container_verdict(
    entry: Entry, subject: ResourceRef, ident: str, group: str, address: str, facts: Facts
) -> PlannedForward | Skip | Published | NotRequested:
    """One verdict for the entry at one address."""
    there = facts.containers
    if there is None:
        return Skip(id=ident, subject=subject, reason=ELSEWHERE)
    thing = RuleTarget(CONTAINER, entry.name, "", {}, (entry.port,))
    if entry.source == "user" and (excluded := facts.rules.excluded(thing)):
        return Skip(id=ident, subject=subject, reason=excluded)
    if isinstance(entry.port, str):
        return Skip(id=ident, subject=subject, reason="a container's ports have no names: give the number")
    container = _container(entry, there, facts)
    published = next(iter(_published(container, entry.port)), None) if container else None
    because = f"it is asked for by {entry.origin}"
    if published is not None and not _asks_for_another(entry, published):
        return Published(
            id=ident, subject=subject, address=_address(published), local_port=published.public_port, because=because
        )
    found = _found(entry, entry.port, container, there, deployed=facts.deployed)
    if entry.source == "user" and not found.endpoints and (container is None or not container.running):
        # Skaffold will have Docker publish it at this very port: whoever binds it first makes both of them drift.
        return NotRequested(
            id=ident, subject=subject, reason=f"{found.waiting_for or found.broken}; Docker will publish it"
        )
    # TCP all the way: a client's end of sending needs no holding back.
    wanted = spec(ident, group, address, entry.local_port, facts, eager=True, linger=0.0)
    return PlannedForward(
        id=ident,
        subject=subject,
        spec=wanted,
        endpoints=found.endpoints,
        waiting_for=found.waiting_for,
        broken=found.broken,
        because=because,
    )


def published_beside(facts: Facts) -> Iterator[Published]:
    """In modes debug and pods: what else Docker publishes of this run's containers, which no entry asks for."""
    mode = next((mode for mode in (Mode.PODS, Mode.DEBUG) if mode in facts.modes), None)
    if mode is None or facts.containers is None:
        return
    ids = facts.former_run_ids | {facts.run_id}
    asked = [entry for entry in facts.active_entries if entry.kind == CONTAINER]
    for container in facts.containers.containers:
        if _run_id(container) not in ids - {""}:
            continue
        for number in sorted({port.private_port for port in container.ports or ()}):
            covered = any(entry.port == number and _is_meant(entry.name, container) for entry in asked)
            for port in [] if covered else _published(container, number)[:1]:
                yield Published(
                    id=f"{mode.value}//container/{container.name}/{number}/",
                    subject=ResourceRef(
                        source=mode.value,
                        resource_type=CONTAINER,
                        resource_name=container.name,
                        namespace="",
                        container=container.name,
                        remote_port=number,
                    ),
                    address=_address(port),
                    local_port=port.public_port,
                    because=f"mode {mode.value}: Docker publishes it",
                )


def _address(port: PublishedPort) -> str:
    return DEFAULT_ADDRESS if port.ip in _ANYWHERE else port.ip


def _container(entry: Entry, there: Containers, facts: Facts) -> DockerContainer | None:
    """The one that runs, of this run, the newest.

    Leftovers of older runs, and strangers, may have the same image; whoever asks portside itself may mean these.
    """
    ids = (facts.former_run_ids | {facts.run_id}) - {""}

    def rank(container: DockerContainer) -> tuple[bool, bool, int]:
        return container.running, _run_id(container) == facts.run_id, container.created

    meant = (c for c in there.containers if _is_meant(entry.name, c))
    own = (c for c in meant if entry.source != "user" or not ids or _run_id(c) in ids)
    return max(own, key=rank, default=None)


def _run_id(container: DockerContainer) -> str:
    return (container.labels or {}).get(RUN_ID_LABEL, "")


def _is_meant(name: str, container: DockerContainer) -> bool:
    """By image or by name, in any case; Skaffold makes `myapp-1` where `myapp` is there already."""
    name, called = name.lower(), container.name.lower()
    return (
        called == name
        or bool(re.fullmatch(rf"{re.escape(name)}-\d+", called))
        or images.is_artifact(container.image.lower(), (name,))
    )


def _asks_for_another(entry: Entry, published: PublishedPort) -> bool:
    """What Skaffold's own entries ask for is Docker's; whoever asks portside for a local port shall have it."""
    own = entry.source != "user" and entry.local_port.reserved
    return own and entry.local_port.number != published.public_port


def _published(container: DockerContainer, port: int) -> list[PublishedPort]:
    """Where Docker listens for the container's port, IPv4 first."""
    ports = [p for p in container.ports or () if (p.private_port, p.type) == (port, "tcp") and p.public_port]
    return sorted(ports, key=lambda p: (":" in p.ip, p.ip, p.public_port)) if container.running else []


def _found(
    entry: Entry, port: int, container: DockerContainer | None, there: Containers, *, deployed: bool
) -> EndpointResult:
    if container is None:
        if not there.synced:
            return EndpointResult(waiting_for=there.problem or "listing containers")
        missing = f"there is no container {entry.name}"
        return EndpointResult(broken=missing) if deployed else EndpointResult(waiting_for=f"{missing} yet")
    if not container.running:
        return EndpointResult(waiting_for=f"container {container.name} is {container.state}")
    if not there.reachable:
        return EndpointResult(
            broken=f"container {container.name} cannot be reached from here: have its port {port} published"
        )
    if not container.address:
        return EndpointResult(
            broken=f"container {container.name} has no network of its own: its ports are this machine's"
        )
    return EndpointResult((Endpoint(PodRef("", container.name, container.id, container.address), port, ready=True),))
