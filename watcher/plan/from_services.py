"""Owns the verdict on each port of the run's services: mode services. Pure.

After Skaffold's kubernetes/portforward/resource_forwarder.go; ordered by namespace, name and port.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from forwarders.spec import PortPolicy, PortRequest
from watcher.cluster import kinds
from watcher.cluster.kinds import Service, ServicePort
from watcher.config.entries import Entry, RuleTarget
from watcher.plan import run
from watcher.plan.endpoints import endpoints_of
from watcher.plan.facts import Facts
from watcher.plan.namespaces import Namespaces
from watcher.plan.neighbours import neighbours, unlisted_of
from watcher.plan.ports import unreachable
from watcher.plan.serving import EndpointResult
from watcher.plan.verdicts import (
    NotRequested,
    PlannedForward,
    ResourceRef,
    Skip,
    Verdict,
    held_by_skaffold,
    left_to_skaffold,
    not_listed,
    spec,
    unlisted_kind,
)
from watcher.skaffold.modes import Mode

# Skaffold asks for a service's own port only from here on.
FIRST_UNPRIVILEGED = 1024

# Namespace, name and port number. An entry that names the port is another forward, as it is for Skaffold.
Asked = Mapping[tuple[str, str, int | str], Entry]


def from_services(facts: Facts) -> Iterator[Verdict]:
    """One verdict for each port and address, one for a port that no address could help, and for no ports at all."""
    if facts.containers is not None:
        return
    asked = _asked_by_entries(facts)
    for service in run.services(facts):
        if not service.spec.ports:
            yield _portless(service)
        for port in sorted(service.spec.ports or (), key=lambda p: (p.port, p.protocol, p.name)):
            yield from _of_port(service, port, facts, asked)
    if Mode.SERVICES in facts.modes:
        yield from unlisted_kind(kinds.SERVICE, "services", facts)


def _of_port(service: Service, port: ServicePort, facts: Facts, asked: Asked) -> Iterator[Verdict]:
    group, subject = _group(service, port), _subject(service, port)
    if Mode.SERVICES not in facts.modes:
        yield NotRequested(id=group, subject=subject, reason="mode services is off")
    elif unable := unreachable(service, port):
        yield Skip(id=group, subject=subject, reason=unable)
    else:
        for address in dict.fromkeys(facts.addresses):
            yield _service(service, port, address, facts, asked)


def _group(service: Service, port: ServicePort) -> str:
    protocol = "" if port.protocol == "TCP" else f"{port.protocol}/"
    return f"services/{service.metadata.namespace}/service/{service.metadata.name}/{port.port}/{protocol}"


def _subject(service: Service, port: ServicePort) -> ResourceRef:
    return ResourceRef(
        source="services",
        resource_type="service",
        resource_name=service.metadata.name,
        namespace=service.metadata.namespace,
        remote_port=port.port,
        protocol=port.protocol,
    )


def _portless(service: Service) -> NotRequested:
    name, namespace = service.metadata.name, service.metadata.namespace
    external = f": it is an ExternalName for {service.spec.external_name}" if service.spec.external_name else ""
    return NotRequested(
        id=f"services/{namespace}/service/{name}/",
        subject=ResourceRef(source="services", resource_type="service", resource_name=name, namespace=namespace),
        reason=f"it has no port{external}",
    )


def _asked_by_entries(facts: Facts) -> Asked:
    asked: dict[tuple[str, str, int | str], Entry] = {}
    namespaces = Namespaces(facts)
    for entry in facts.active_entries:
        if entry.kind == "service" and not namespaces.contested(entry):
            asked.setdefault((namespaces.of(entry), entry.name, entry.port), entry)
    return asked


def _service(service: Service, port: ServicePort, address: str, facts: Facts, asked: Asked) -> PlannedForward | Skip:
    group, subject = _group(service, port), _subject(service, port)
    ident = group + address
    port_request = (
        PortRequest(PortPolicy.PREFERRED, port.port)
        if port.port >= FIRST_UNPRIVILEGED
        else PortRequest(PortPolicy.AUTOMATIC)
    )
    if reason := _why_not(service, port, facts, asked) or _left(service, port, ident, port_request, facts):
        return Skip(id=ident, subject=subject, reason=reason)
    found = _find(service, port, facts)
    return PlannedForward(
        id=ident,
        subject=subject,
        spec=spec(ident, group, address, port_request, facts),
        endpoints=found.endpoints,
        waiting_for=found.waiting_for,
        broken=found.broken,
        because="mode services: it is a service of this run",
        called=_called(port),
    )


def _why_not(service: Service, port: ServicePort, facts: Facts, asked: Asked) -> str:
    """The reason for a no, or ""."""
    name, namespace = service.metadata.name, service.metadata.namespace
    entry = asked.get((namespace, name, port.port))
    if entry is not None:
        return f"{entry.origin} asks for this port already"
    called = _called(port)
    return facts.rules.refused(RuleTarget("service", name, namespace, service.metadata.labels or {}, called))


def _left(service: Service, port: ServicePort, ident: str, port_request: PortRequest, facts: Facts) -> str:
    own = held_by_skaffold(facts, "service", service.metadata.name, service.metadata.namespace, (port.port,))
    return left_to_skaffold(own, ident, port_request, facts)


def _called(port: ServicePort) -> tuple[int | str, ...]:
    return (port.port, port.name) if port.name else (port.port,)


def _find(service: Service, port: ServicePort, facts: Facts) -> EndpointResult:
    namespace = service.metadata.namespace
    if (needed := unlisted_of("service", namespace, service, facts)) is not None:
        return not_listed(needed, facts)
    return endpoints_of(service, "service", port.port, neighbours("service", namespace, service, facts))
