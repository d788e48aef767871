"""Owns the verdict on each port of the run's services: mode services. Pure.

After Skaffold's kubernetes/portforward/resource_forwarder.go; ordered by namespace, name and port.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from forwarders.spec import Ask, PortWish
from watcher.cluster.objects import Pod, Service, ServicePort
from watcher.config.entries import Entry
from watcher.plan import run
from watcher.plan.endpoints import Found, endpoints_of, unforwardable
from watcher.plan.facts import Facts
from watcher.plan.namespaces import namespace_of, pods_in
from watcher.plan.needs import active_entries
from watcher.plan.verdicts import Skip, Wanted, held_by_skaffold, skaffold_has_it, spec, unlisted

# Skaffold asks for a service's own port only from here on.
FIRST_UNPRIVILEGED = 1024

# Namespace, name and port, by number or by name.
Asked = Mapping[tuple[str, str, int | str], Entry]


def from_services(facts: Facts) -> Iterator[Wanted | Skip]:
    """One verdict for each port and address."""
    asked = _asked_by_entries(facts)
    for service in run.services(facts):
        for port in sorted(service.spec.ports or (), key=lambda p: (p.port, p.protocol, p.name)):
            for address in dict.fromkeys(facts.addresses):
                yield _service(service, port, address, facts, asked)
    yield from _unlisted(facts)


def _unlisted(facts: Facts) -> Iterator[Skip]:
    """Lists of services that have never ended: nothing else would say why there is nothing to forward.

    That everywhere is refused says nothing yet, for the known namespaces are asked in its place.
    """
    for watch in run.service_watches(facts):
        problem = facts.cluster.problems.get(watch)
        if problem is None or facts.cluster.synced(watch) or (problem.forbidden and watch == run.EVERYWHERE):
            continue
        yield Skip(
            id=f"services/{watch.namespace}/service/*",
            source="services",
            resource_type="service",
            resource_name="*",
            namespace=watch.namespace,
            container="",
            remote_port="",
            reason=problem.text,
        )


def _asked_by_entries(facts: Facts) -> Asked:
    asked: dict[tuple[str, str, int | str], Entry] = {}
    for entry in active_entries(facts):
        if entry.kind == "service":
            asked.setdefault((namespace_of(entry, facts), entry.name, entry.port), entry)
    return asked


def _service(service: Service, port: ServicePort, address: str, facts: Facts, asked: Asked) -> Wanted | Skip:
    name, namespace = service.metadata.name, service.metadata.namespace
    protocol = "" if port.protocol == "TCP" else f"{port.protocol}/"
    group = f"services/{namespace}/service/{name}/{port.port}/{protocol}"
    ident = group + address
    reason = _why_not(service, port, facts, asked)
    if reason:
        return Skip(
            id=ident,
            source="services",
            resource_type="service",
            resource_name=name,
            namespace=namespace,
            container="",
            remote_port=port.port,
            reason=reason,
        )
    found = _find(service, port, facts)
    wish = PortWish(Ask.PREFERRED, port.port) if port.port >= FIRST_UNPRIVILEGED else PortWish(Ask.AUTOMATIC)
    return Wanted(
        id=ident,
        source="services",
        resource_type="service",
        resource_name=name,
        namespace=namespace,
        container="",
        remote_port=port.port,
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
    own = held_by_skaffold(facts, "service", name, namespace, spellings)
    return "" if own is None else skaffold_has_it(own)


def _find(service: Service, port: ServicePort, facts: Facts) -> Found:
    watch = pods_in(service.metadata.namespace)
    if not facts.cluster.synced(watch):
        why, refused = unlisted(watch, facts)
        return Found(broken=why) if refused else Found(waiting_for=why)
    pods = [pod for pod in facts.cluster.objects[watch].values() if isinstance(pod, Pod)]
    return endpoints_of(service, "service", port.port, pods)
