"""Owns the decision: from facts to what is forwarded, what is not, and why. A pure function.

Order is that of Skaffold: user entries, then services; within each the file's order, or namespace, name and port. Equal
facts give an equal plan, in whatever order the cluster's objects came.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from forwarders.spec import Ask, Endpoint, ForwardSpec, PortWish
from watcher.cluster.objects import Pod, Service, ServicePort, Workload
from watcher.cluster.store import Watch
from watcher.config.entries import CONTAINER, Entry
from watcher.plan.endpoints import Found, endpoints_of, service_port
from watcher.plan.facts import Facts, OwnForward
from watcher.plan.namespaces import namespace_of
from watcher.plan.needs import active_entries, jobs_in, pods_in, run_services, target_of

# Skaffold asks for a service's own port only from here on (kubernetes/portforward/resource_forwarder.go).
FIRST_UNPRIVILEGED = 1024


class Wanted(Struct, frozen=True, kw_only=True):
    """One forward that shall be. `waiting_for`, `broken`: see endpoints.Found. `because`: the rule that chose it."""

    id: str
    source: str
    resource_type: str
    resource_name: str
    namespace: str
    container: str
    remote_port: int | str
    spec: ForwardSpec
    endpoints: tuple[Endpoint, ...]
    waiting_for: str
    broken: str
    because: str


class Skip(Struct, frozen=True, kw_only=True):
    """Something that is not forwarded, and why."""

    id: str
    source: str
    resource_type: str
    resource_name: str
    namespace: str
    container: str
    remote_port: int | str
    reason: str


class Plan(Struct, frozen=True):
    """What is wanted and what is not; ids are unique over both."""

    forwards: tuple[Wanted, ...]
    skips: tuple[Skip, ...]


# What a forward leads to, whatever its address: two entries for one target are one, as in Skaffold.
Target = tuple[str, str, str, int | str]


def make_plan(facts: Facts) -> Plan:
    """The plan for these facts."""
    forwards: dict[str, Wanted] = {}
    skips: dict[str, Skip] = {}
    for item in (*_entries(facts), *_services(facts, taken_by_entries(facts))):
        match item:
            case Wanted() if item.id not in forwards:
                forwards[item.id] = item
            case Skip() if item.id not in forwards:
                skips.setdefault(item.id, item)
    return Plan(tuple(forwards.values()), tuple(skips.values()))


def settled(facts: Facts, watches: frozenset[Watch]) -> bool:
    """Whether the plan stands on lists that have all ended, or were refused for good reason."""
    cluster = facts.cluster
    return all(
        cluster.synced(watch) or (watch in cluster.problems and cluster.problems[watch].forbidden) for watch in watches
    )


# User and direct entries


def _entries(facts: Facts) -> Iterator[Wanted | Skip]:
    for bad in facts.bad_entries:
        yield Skip(
            id=f"user/{bad.namespace}/{bad.resource_type.lower()}/{bad.name}/{bad.port}/{bad.origin}",
            source="user",
            resource_type=bad.resource_type,
            resource_name=bad.name,
            namespace=bad.namespace,
            container="",
            remote_port=bad.port,
            reason=f"{bad.origin}: {bad.reason}",
        )
    for entry in active_entries(facts):
        namespace = namespace_of(entry, facts)
        for address in entry.addresses:
            yield _entry(entry, namespace, address, facts)


def _entry(entry: Entry, namespace: str, address: str, facts: Facts) -> Wanted | Skip:
    held = _held_by_skaffold(facts, entry.kind, entry.name, namespace, entry.port)
    reason = ""
    if entry.kind == CONTAINER:
        reason = "containers belong to the Docker deployer, which publishes their ports itself"
    elif held is not None:
        reason = f"Skaffold forwards it itself, to {held.address}:{held.local_port}; start it with --port-forward=off"
    if reason:
        return Skip(
            id=_entry_id(entry, namespace, address),
            source=entry.source,
            resource_type=entry.resource_type,
            resource_name=entry.name,
            namespace=namespace,
            container="",
            remote_port=entry.port,
            reason=reason,
        )
    found = _find(entry, namespace, facts)
    return Wanted(
        id=_entry_id(entry, namespace, address),
        source=entry.source,
        resource_type=entry.resource_type,
        resource_name=entry.name,
        namespace=namespace,
        container="",
        remote_port=entry.port,
        spec=_spec(
            _entry_id(entry, namespace, address),
            _entry_id(entry, namespace, ""),
            address,
            entry.wish,
            facts,
            eager=entry.kind == "pod",
        ),
        endpoints=found.endpoints,
        waiting_for=found.waiting_for,
        broken=found.broken,
        because=f"it is asked for by {entry.origin}",
    )


def _entry_id(entry: Entry, namespace: str, address: str) -> str:
    """Two direct entries for one target differ by the local port they ask for; user entries do not, as in Skaffold."""
    asked = f"{entry.wish.ask.value}-{entry.wish.number}/" if entry.source == "direct" else ""
    return f"{entry.source}/{namespace}/{entry.kind}/{entry.name}/{entry.port}/{asked}{address}"


def _find(entry: Entry, namespace: str, facts: Facts) -> Found:
    watch = target_of(entry, namespace)
    cluster = facts.cluster
    for needed in (watch, pods_in(namespace)):
        if not cluster.synced(needed):
            problem = cluster.problems.get(needed)
            where = f"{needed.kind.plural} in namespace {namespace}"
            return Found(waiting_for=problem.text if problem else f"listing {where}")
    target = cluster.objects[watch].get((namespace, entry.name))
    if target is None:
        missing = f"{entry.kind} {entry.name} does not exist in namespace {namespace}"
        return Found(broken=missing) if facts.deployed else Found(waiting_for=f"{missing} yet")
    found = endpoints_of(target, entry.port, _pods(facts, namespace), _jobs(facts, namespace))
    if isinstance(target, Service) and (unable := _unforwardable(service_port(target, entry.port))):
        return Found(broken=unable)
    return found


def _pods(facts: Facts, namespace: str) -> list[Pod]:
    return [pod for pod in facts.cluster.objects.get(pods_in(namespace), {}).values() if isinstance(pod, Pod)]


def _jobs(facts: Facts, namespace: str) -> list[Workload]:
    return [job for job in facts.cluster.objects.get(jobs_in(namespace), {}).values() if isinstance(job, Workload)]


# Services of the run


def taken_by_entries(facts: Facts) -> dict[Target, Entry]:
    """The service ports that a user entry asks for, by number and by name alike."""
    taken: dict[Target, Entry] = {}
    for entry in active_entries(facts):
        if entry.kind == "service":
            taken.setdefault(("service", entry.name, namespace_of(entry, facts), entry.port), entry)
    return taken


def _services(facts: Facts, taken: dict[Target, Entry]) -> Iterator[Wanted | Skip]:
    services: dict[tuple[str, str], Service] = {}
    for watch in run_services(facts):
        found = facts.cluster.objects.get(watch, {})
        services |= {key: item for key, item in found.items() if isinstance(item, Service)}
    for _, service in sorted(services.items()):
        for port in sorted(service.spec.ports or (), key=lambda p: (p.port, p.protocol)):
            for address in facts.addresses:
                yield _service(service, port, address, facts, taken)


def _service(
    service: Service, port: ServicePort, address: str, facts: Facts, taken: dict[Target, Entry]
) -> Wanted | Skip:
    name, namespace = service.metadata.name, service.metadata.namespace
    protocol = "" if port.protocol == "TCP" else f"/{port.protocol}"
    group = f"services/{namespace}/service/{name}/{port.port}{protocol}/"
    reason = _why_not(service, port, facts, taken)
    if reason:
        return Skip(
            id=group + address,
            source="services",
            resource_type="service",
            resource_name=name,
            namespace=namespace,
            container="",
            remote_port=port.port,
            reason=reason,
        )
    found = _service_endpoints(service, port, facts)
    wish = PortWish(Ask.PREFERRED, port.port) if port.port >= FIRST_UNPRIVILEGED else PortWish(Ask.AUTOMATIC)
    return Wanted(
        id=group + address,
        source="services",
        resource_type="service",
        resource_name=name,
        namespace=namespace,
        container="",
        remote_port=port.port,
        spec=_spec(group + address, group, address, wish, facts),
        endpoints=found.endpoints,
        waiting_for=found.waiting_for,
        broken=found.broken,
        because="mode services: it is a service of this run",
    )


def _service_endpoints(service: Service, port: ServicePort, facts: Facts) -> Found:
    namespace = service.metadata.namespace
    watch = pods_in(namespace)
    if not facts.cluster.synced(watch):
        problem = facts.cluster.problems.get(watch)
        return Found(waiting_for=problem.text if problem else f"listing pods in namespace {namespace}")
    return endpoints_of(service, port.port, _pods(facts, namespace))


def _why_not(service: Service, port: ServicePort, facts: Facts, taken: dict[Target, Entry]) -> str:
    name, namespace = service.metadata.name, service.metadata.namespace
    if service.spec.type == "ExternalName":
        return f"it is an ExternalName for {service.spec.external_name}: there is no pod behind it"
    if unable := _unforwardable(port):
        return unable
    for asked in (port.port, port.name):
        entry = taken.get(("service", name, namespace, asked)) if asked else None
        if entry is not None:
            return f"{entry.origin} asks for this port already"
        held = _held_by_skaffold(facts, "service", name, namespace, asked) if asked else None
        if held is not None:
            return f"Skaffold forwards it itself, to {held.address}:{held.local_port}; start it with --port-forward=off"
    return ""


def _unforwardable(port: ServicePort | None) -> str:
    if port is None or port.protocol == "TCP":
        return ""
    return f"port {port.port} is {port.protocol}, and Kubernetes forwards TCP only"


# Both


def _held_by_skaffold(facts: Facts, kind: str, name: str, namespace: str, port: int | str) -> OwnForward | None:
    for own in facts.own_forwards:
        same_namespace = own.namespace in {namespace, ""}
        if (own.kind, own.name, own.port) == (kind, name, port) and same_namespace:
            return own
    return None


def _spec(ident: str, group: str, address: str, wish: PortWish, facts: Facts, *, eager: bool = False) -> ForwardSpec:
    """`eager`: a pod that is Running will do at once."""
    waiting = facts.waiting
    strict = facts.strict_ports and wish.number
    return ForwardSpec(
        id=ident,
        address=address,
        port=PortWish(Ask.DEMANDED, wish.number) if strict else wish,
        group=group,
        hold=waiting.hold,
        held=waiting.held,
        linger=waiting.linger,
        patience=0.0 if eager else waiting.patience,
    )
