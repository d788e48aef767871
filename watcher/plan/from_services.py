"""The verdict on each port of the run's services: mode services. Pure.

After Skaffold's kubernetes/portforward/resource_forwarder.go; ordered by namespace, name and port.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from forwarders.spec import PortPolicy, PortRequest
from watcher.cluster import kinds
from watcher.cluster.kinds import Service, ServicePort
from watcher.config.entries import Entry, RuleTarget
from watcher.plan import run
from watcher.plan.endpoints import endpoints_of
from watcher.plan.facts import Facts
from watcher.plan.pods import EndpointResult, Steps
from watcher.plan.ports import TCP, unreachable
from watcher.plan.required_watches import EntryNamespaces, missing_list, related_lists
from watcher.plan.verdicts import (
    FoundPort,
    NotRequested,
    ResourceRef,
    Verdict,
    held_by_skaffold,
    not_listed,
    unlisted_kind,
    verdicts_on,
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
        whole = ResourceRef(
            source="services",
            resource_type="service",
            resource_name=service.metadata.name,
            namespace=service.metadata.namespace,
        )
        if not service.spec.ports:
            external = f": it is an ExternalName for {service.spec.external_name}" if service.spec.external_name else ""
            yield NotRequested(id=whole.key, subject=whole, reason=f"it has no port{external}")
        for port in sorted(service.spec.ports or (), key=lambda p: (p.port, p.protocol, p.name)):
            found = _found(service, port, whole, facts, requested)
            yield from verdicts_on(found, _find(service, port, facts), facts)
    if Mode.SERVICES in facts.modes:
        yield from unlisted_kind(kinds.SERVICE, "services", facts)


def _by_entries(facts: Facts) -> Requested:
    requested: dict[tuple[str, str, int | str], Entry] = {}
    namespaces = EntryNamespaces(facts)
    for entry in facts.active_entries:
        if entry.kind == "service" and not namespaces.contested(entry):
            requested.setdefault((namespaces.of(entry), entry.name, entry.port), entry)
    return requested


def _found(service: Service, port: ServicePort, whole: ResourceRef, facts: Facts, requested: Requested) -> FoundPort:
    """The port of a service with everything that decides whether it is forwarded."""
    name, namespace = whole.resource_name, whole.namespace
    privileged = port.port < FIRST_UNPRIVILEGED
    called = (port.port, port.name) if port.name else (port.port,)
    entry = requested.get((namespace, name, port.port))
    of_rule = RuleTarget("service", name, namespace, service.metadata.labels or {}, called)
    protocol = "" if port.protocol == TCP else f"{port.protocol}/"
    return FoundPort(
        group=f"{whole.key}{port.port}/{protocol}",
        subject=replace(whole, remote_port=port.port, protocol=port.protocol),
        local_port=PortRequest(PortPolicy.AUTOMATIC) if privileged else PortRequest(PortPolicy.PREFERRED, port.port),
        because="mode services: it is a service of this run",
        called=called,
        not_requested="" if Mode.SERVICES in facts.modes else "mode services is off",
        unable=unreachable(service, port),
        refused=f"{entry.origin} asks for this port already" if entry else facts.rules.refused(of_rule),
        held_by=held_by_skaffold("service", {name}, namespace, (port.port,), facts),
    )


def _find(service: Service, port: ServicePort, facts: Facts) -> Steps[EndpointResult]:
    namespace = service.metadata.namespace
    if (needed := missing_list("service", namespace, service, facts)) is not None:
        return not_listed(needed, facts)
    related = related_lists("service", namespace, service, facts)
    return (yield from endpoints_of(service, "service", port.port, related))
