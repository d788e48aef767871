"""Owns the verdict on each port of the run's services: mode services. Pure.

After Skaffold's kubernetes/portforward/resource_forwarder.go; ordered by namespace, name and port.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from forwarders.spec import Ask, PortWish
from watcher.cluster import kinds
from watcher.cluster.objects import Service, ServicePort
from watcher.config.entries import Entry
from watcher.config.rules import Thing
from watcher.plan import run
from watcher.plan.endpoints import Found, endpoints_of, unforwardable
from watcher.plan.facts import Facts
from watcher.plan.namespaces import contested, namespace_of
from watcher.plan.neighbours import lists, neighbours
from watcher.plan.verdicts import (
    Passed,
    Skip,
    Subject,
    Verdict,
    Wanted,
    held_by_skaffold,
    skaffold_has_it,
    spec,
    unlisted,
    unlisted_kind,
)
from watcher.skaffold.modes import Mode

# Skaffold asks for a service's own port only from here on.
FIRST_UNPRIVILEGED = 1024

# Namespace, name and port, by number or by name.
Asked = Mapping[tuple[str, str, int | str], Entry]


def from_services(facts: Facts) -> Iterator[Verdict]:
    """One verdict for each port and address, and one for a service without ports."""
    if Mode.SERVICES not in facts.modes or facts.containers is not None:
        return
    asked = _asked_by_entries(facts)
    for service in run.services(facts):
        if not service.spec.ports:
            yield _portless(service)
        for port in sorted(service.spec.ports or (), key=lambda p: (p.port, p.protocol, p.name)):
            for address in dict.fromkeys(facts.addresses):
                yield _service(service, port, address, facts, asked)
    yield from unlisted_kind(kinds.SERVICE, "services", facts)


def _portless(service: Service) -> Passed:
    name, namespace = service.metadata.name, service.metadata.namespace
    external = f": it is an ExternalName for {service.spec.external_name}" if service.spec.external_name else ""
    return Passed(
        id=f"services/{namespace}/service/{name}/",
        subject=Subject(source="services", resource_type="service", resource_name=name, namespace=namespace),
        reason=f"it has no port{external}",
    )


def _asked_by_entries(facts: Facts) -> Asked:
    asked: dict[tuple[str, str, int | str], Entry] = {}
    for entry in facts.active_entries:
        if entry.kind == "service" and not contested(entry, facts):
            asked.setdefault((namespace_of(entry, facts), entry.name, entry.port), entry)
    return asked


def _service(service: Service, port: ServicePort, address: str, facts: Facts, asked: Asked) -> Wanted | Skip:
    name, namespace = service.metadata.name, service.metadata.namespace
    protocol = "" if port.protocol == "TCP" else f"{port.protocol}/"
    group = f"services/{namespace}/service/{name}/{port.port}/{protocol}"
    ident = group + address
    subject = Subject(
        source="services", resource_type="service", resource_name=name, namespace=namespace, remote_port=port.port
    )
    if reason := _why_not(service, port, facts, asked):
        return Skip(id=ident, subject=subject, reason=reason)
    found = _find(service, port, facts)
    wish = PortWish(Ask.PREFERRED, port.port) if port.port >= FIRST_UNPRIVILEGED else PortWish(Ask.AUTOMATIC)
    return Wanted(
        id=ident,
        subject=subject,
        spec=spec(ident, group, address, wish, facts),
        endpoints=found.endpoints,
        waiting_for=found.waiting_for,
        broken=found.broken,
        because="mode services: it is a service of this run",
    )


def _why_not(service: Service, port: ServicePort, facts: Facts, asked: Asked) -> str:
    """The reason for a no, or ""."""
    name, namespace = service.metadata.name, service.metadata.namespace
    if service.spec.type == "ExternalName":
        return f"it is an ExternalName for {service.spec.external_name}: there is no pod behind it"
    if unable := unforwardable(port):
        return unable
    spellings: tuple[int | str, ...] = (port.port, port.name) if port.name else (port.port,)
    for spelling in spellings:
        entry = asked.get((namespace, name, spelling))
        if entry is not None:
            return f"{entry.origin} asks for this port already"
    if refused := facts.rules.refused(Thing("service", name, namespace, service.metadata.labels or {}, spellings)):
        return refused
    own = held_by_skaffold(facts, "service", name, namespace, spellings)
    return "" if own is None else skaffold_has_it(own)


def _find(service: Service, port: ServicePort, facts: Facts) -> Found:
    namespace = service.metadata.namespace
    for watch in lists("service", namespace, service):
        if not facts.cluster.synced(watch):
            why, refused = unlisted(watch, facts)
            return Found(broken=why) if refused else Found(waiting_for=why)
    return endpoints_of(service, "service", port.port, neighbours("service", namespace, service, facts))
