"""The verdict on entries for containers of Skaffold's Docker deployer. Pure.

Skaffold publishes the ports of its entries itself (pkg/skaffold/docker/port_manager.go): those are shown and never
bound by portside. A port that Docker does not publish is forwarded to the container's own address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from forwarders.spec import Endpoint, PodRef
from watcher.cluster.kinds import RUN_ID_LABEL
from watcher.config.entries import CONTAINER, DEFAULT_ADDRESS, Entry, RuleTarget
from watcher.plan import run
from watcher.plan.facts import Facts
from watcher.plan.pods import EndpointResult
from watcher.plan.verdicts import NotRequested, Published, ResourceRef, Skip, Verdict, forward_spec, planned

if TYPE_CHECKING:
    from watcher.docker.containers import Containers, DockerContainer, PublishedPort

# Docker's spellings of all addresses; connections then go to DEFAULT_ADDRESS.
_ANYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104 - compared with, not bound
ELSEWHERE = "the project deploys to Kubernetes; containers belong to Skaffold's Docker deployer"


def container_verdict(
    entry: Entry, subject: ResourceRef, ident: str, group: str, address: str, facts: Facts
) -> Verdict:
    """The verdict on an entry for a container, at one address."""
    there = facts.containers
    if there is None:
        return Skip(id=ident, subject=subject, reason=ELSEWHERE)
    of_rule = RuleTarget(CONTAINER, entry.name, "", {}, (entry.port,))
    if entry.source == "user" and (excluded := facts.rules.excluded(of_rule)):
        return Skip(id=ident, subject=subject, reason=excluded)
    if isinstance(entry.port, str):
        return Skip(id=ident, subject=subject, reason="a container's ports have no names: give the number")
    container = _container(entry, there, facts)
    port = _published_port(container, entry.port) if container else None
    because = f"it is asked for by {entry.origin}"
    if port is not None and not _requests_another(entry, port):
        return _published(port, ident, subject, because)
    found = _find(entry, entry.port, container, there, deployed=facts.deployed)
    if entry.source == "user" and not found.endpoints and (container is None or not container.running):
        # Skaffold will let Docker publish this port. If portside took it first, both would have to choose others.
        reason = f"{found.waiting_for or found.broken}; Docker will publish it"
        return NotRequested(id=ident, subject=subject, reason=reason)
    spec = forward_spec(group, address, entry.local_port, facts, ident=ident, eager=True)
    # Both sides are TCP, so the client's FIN need not be held back.
    return planned(replace(spec, linger=0.0), subject, found, because)


def published_beside(facts: Facts) -> Iterator[Published]:
    """In modes debug and pods: the other ports that Docker publishes for this run's containers."""
    mode = facts.pod_mode
    if mode is None or facts.containers is None:
        return
    entries = [entry for entry in facts.active_entries if entry.kind == CONTAINER]
    for container in facts.containers.containers:
        if _run_id(container) not in facts.ids_of_run:
            continue
        for number in sorted({port.private_port for port in container.ports or ()}):
            port = _published_port(container, number)
            covered = any(entry.port == number and _is_meant(entry.name, container) for entry in entries)
            if port is not None and not covered:
                subject = ResourceRef(
                    source=mode.value,
                    resource_type=CONTAINER,
                    resource_name=container.name,
                    namespace="",
                    container=container.name,
                    remote_port=number,
                )
                yield _published(port, f"{subject.key}{number}/", subject, f"mode {mode.value}: Docker publishes it")


def _published(port: PublishedPort, ident: str, subject: ResourceRef, because: str) -> Published:
    address = DEFAULT_ADDRESS if port.ip in _ANYWHERE else port.ip
    return Published(id=ident, subject=subject, address=address, local_port=port.public_port, because=because)


def _container(entry: Entry, there: Containers, facts: Facts) -> DockerContainer | None:
    """The container that an entry means: the running one, of this run, the newest.

    Containers of older runs and of others may have the same image. Only entries of the command line may mean those.
    """
    ids = facts.ids_of_run

    def rank(container: DockerContainer) -> tuple[bool, bool, int]:
        return container.running, _run_id(container) == facts.run_id, container.created

    meant = (c for c in there.containers if _is_meant(entry.name, c))
    own = (c for c in meant if entry.source != "user" or not ids or _run_id(c) in ids)
    return max(own, key=rank, default=None)


def _run_id(container: DockerContainer) -> str:
    return (container.labels or {}).get(RUN_ID_LABEL, "")


def _is_meant(name: str, container: DockerContainer) -> bool:
    """Whether an entry means a container, by image or name in any case. Skaffold calls a second `myapp` `myapp-1`."""
    name, called = name.lower(), container.name.lower()
    return (
        called == name
        or bool(re.fullmatch(rf"{re.escape(name)}-\d+", called))
        or run.artifact_index((name,)).has(container.image.lower())
    )


def _requests_another(entry: Entry, published: PublishedPort) -> bool:
    """Whether the entry requests another local port than the published one: only the command line's get that."""
    own = entry.source != "user" and entry.local_port.reserved
    return own and entry.local_port.number != published.public_port


def _published_port(container: DockerContainer, port: int) -> PublishedPort | None:
    """The published port for the container's port, an IPv4 one if there is one."""
    ports = [p for p in container.ports or () if (p.private_port, p.type) == (port, "tcp") and p.public_port]
    return min(ports, key=lambda p: (":" in p.ip, p.ip, p.public_port), default=None) if container.running else None


def _find(
    entry: Entry, port: int, container: DockerContainer | None, there: Containers, *, deployed: bool
) -> EndpointResult:
    if container is None:
        if not there.synced:
            return EndpointResult(waiting_for=there.problem or "listing containers")
        missing = f"there is no container {entry.name}"
        certain = deployed and not there.outdated
        return EndpointResult(broken=missing) if certain else EndpointResult(waiting_for=f"{missing} yet")
    if not container.running:
        return EndpointResult(waiting_for=f"container {container.name} is {container.state}")
    if not there.reachable:
        return EndpointResult(broken=f"container {container.name} cannot be reached from here: publish its port {port}")
    if not container.address:
        return EndpointResult(
            broken=f"container {container.name} has no network of its own: its ports are this machine's"
        )
    return EndpointResult((Endpoint(PodRef("", container.name, container.id, container.address), port, ready=True),))
