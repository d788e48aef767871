"""The verdict on each port of the run's services: mode services. Pure.

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
from watcher.plan.pods import EndpointResult, Steps
from watcher.plan.ports import unreachable
from watcher.plan.required_watches import EntryNamespaces, missing_list, related_lists
from watcher.plan.verdicts import (
    FoundPort,
    NotRequested,
    ResourceRef,
    Skip,
    Verdict,
    at_addresses,
    held_by_skaffold,
    not_listed,
    unlisted_kind,
)
from watcher.skaffold.modes import Mode

# From here on Skaffold requests a service's own port number locally.
FIRST_UNPRIVILEGED = 1024

# The entries by namespace, name and port number. An entry that names the port is another forward, as for Skaffold.
Requested = Mapping[tuple[str, str, int | str], Entry]


def from_services(facts: Facts) -> Iterator[Verdict | None]:
    """One verdict for each port and address; one for a port that cannot be forwarded and a service without ports.

    None is a moment to pause.
    """
    if facts.containers is not None:
        return
    requested = _by_entries(facts)
    for service in run.services(facts):
        if not service.spec.ports:
            yield _portless(service)
        for port in sorted(service.spec.ports or (), key=lambda p: (p.port, p.protocol, p.name)):
            yield from _of_port(service, port, facts, requested)
    if Mode.SERVICES in facts.modes:
        yield from unlisted_kind(kinds.SERVICE, "services", facts)


def _of_port(service: Service, port: ServicePort, facts: Facts, requested: Requested) -> Iterator[Verdict | None]:
    protocol = "" if port.protocol == "TCP" else f"{port.protocol}/"
    group = f"services/{service.metadata.namespace}/service/{service.metadata.name}/{port.port}/{protocol}"
    subject = ResourceRef(
        source="services",
        resource_type="service",
        resource_name=service.metadata.name,
        namespace=service.metadata.namespace,
        remote_port=port.port,
        protocol=port.protocol,
    )
    if Mode.SERVICES not in facts.modes:
        yield NotRequested(id=group, subject=subject, reason="mode services is off")
    elif unable := unreachable(service, port):
        yield Skip(id=group, subject=subject, reason=unable)
    else:
        found = _found(service, port, group, subject, facts, requested)
        yield from at_addresses(found, _find(service, port, facts), facts)


def _portless(service: Service) -> NotRequested:
    name, namespace = service.metadata.name, service.metadata.namespace
    external = f": it is an ExternalName for {service.spec.external_name}" if service.spec.external_name else ""
    return NotRequested(
        id=f"services/{namespace}/service/{name}/",
        subject=ResourceRef(source="services", resource_type="service", resource_name=name, namespace=namespace),
        reason=f"it has no port{external}",
    )


def _by_entries(facts: Facts) -> Requested:
    requested: dict[tuple[str, str, int | str], Entry] = {}
    namespaces = EntryNamespaces(facts)
    for entry in facts.active_entries:
        if entry.kind == "service" and not namespaces.contested(entry):
            requested.setdefault((namespaces.of(entry), entry.name, entry.port), entry)
    return requested


def _found(
    service: Service, port: ServicePort, group: str, subject: ResourceRef, facts: Facts, requested: Requested
) -> FoundPort:
    name, namespace = subject.resource_name, subject.namespace
    privileged = port.port < FIRST_UNPRIVILEGED
    called = (port.port, port.name) if port.name else (port.port,)
    entry = requested.get((namespace, name, port.port))
    of_rule = RuleTarget("service", name, namespace, service.metadata.labels or {}, called)
    return FoundPort(
        group=group,
        subject=subject,
        local_port=PortRequest(PortPolicy.AUTOMATIC) if privileged else PortRequest(PortPolicy.PREFERRED, port.port),
        because="mode services: it is a service of this run",
        called=called,
        refused=f"{entry.origin} asks for this port already" if entry else facts.rules.refused(of_rule),
        held_by=held_by_skaffold("service", {name}, namespace, (port.port,), facts),
    )


def _find(service: Service, port: ServicePort, facts: Facts) -> Steps[EndpointResult]:
    namespace = service.metadata.namespace
    if (needed := missing_list("service", namespace, service, facts)) is not None:
        return not_listed(needed, facts)
    related = related_lists("service", namespace, service, facts)
    return (yield from endpoints_of(service, "service", port.port, related))
