"""Owns the verdict on each entry of skaffold.yaml and of the command line, in the order they stand there. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count

from forwarders.spec import PortPolicy
from watcher.cluster import kinds
from watcher.cluster.kinds import Object, Pod, Resource, Service
from watcher.config.entries import CONTAINER, BadEntry, Entry, RuleTarget
from watcher.errors import did_you_mean
from watcher.plan import run
from watcher.plan.endpoints import endpoints_of
from watcher.plan.facts import Facts
from watcher.plan.from_containers import container_verdict
from watcher.plan.namespaces import Namespaces, target_in
from watcher.plan.neighbours import neighbours, unlisted_of
from watcher.plan.ports import service_port, spellings, unreachable
from watcher.plan.serving import EndpointResult, serving
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
)
from watcher.skaffold.modes import Mode

# To compare as many costs a millisecond, in every plan while the object is missing.
COMPARED_NAMES = 100


def from_entries(facts: Facts) -> Iterator[Verdict]:
    """One verdict for each entry and address; one for all entries that the Docker deployer has nothing for."""
    if Mode.USER in facts.modes:
        yield from (_bad(entry, index) for index, entry in enumerate(facts.bad_entries))
    yield from _foreign(facts)
    namespaces = Namespaces(facts)
    seen: dict[str, Entry] = {}
    ids: set[str] = set()
    for entry in _served(facts):
        namespace = namespaces.of(entry)
        for address in dict.fromkeys(entry.addresses or facts.addresses):
            # The id rests on what was written: a namespace that was found out may be another one tomorrow.
            group, target = _group(entry, entry.namespace or facts.namespace), _group(entry, namespace)
            earlier = seen.get(target + address)
            # Two explicit local ports for one target are two forwards (skaffold#6069: Skaffold drops one).
            if (
                earlier is not None
                and entry.local_port.policy is PortPolicy.EXPLICIT
                and entry.local_port != earlier.local_port
            ):
                group, target = (f"{key}{entry.local_port.number}/" for key in (group, target))
                earlier = seen.get(target + address)
            seen.setdefault(target + address, entry)
            names = chain([group + address], (f"{group}{address}/{n}" for n in count(2)))
            ident = next(name for name in names if name not in ids)
            ids.add(ident)
            if earlier is None:
                yield _entry(entry, namespaces, ident, group, address, facts)
            else:
                reason = f"{entry.origin} asks for what {earlier.origin} asks for already"
                yield Skip(id=ident, subject=_subject(entry, namespace), reason=reason)
    yield from (_unasked(entry, index, facts) for index, entry in enumerate(facts.passive_entries))


def _served(facts: Facts) -> list[Entry]:
    """The entries that the project's deployer can serve."""
    docker = facts.containers is not None
    return [entry for entry in facts.active_entries if not docker or entry.kind == CONTAINER]


def _foreign(facts: Facts) -> Iterator[Skip]:
    foreign = [] if facts.containers is None else [e for e in facts.active_entries if e.kind != CONTAINER]
    if foreign:
        first, names = foreign[0], ", ".join(f"{entry.kind}/{entry.name or entry.selector}" for entry in foreign)
        reason = f"the Docker deployer has containers only: passed over are {names}"
        yield Skip(id=f"{first.source}/kubernetes", subject=_subject(first, first.namespace), reason=reason)


def _group(entry: Entry, namespace: str) -> str:
    """What the entry's forwards share. Skaffold's key, but direct entries differ by the local port they ask for too."""
    asked = f"{entry.local_port.policy.value}-{entry.local_port.number}/" if entry.source == "direct" else ""
    return f"{entry.source}/{namespace}/{entry.kind}/{entry.name or entry.selector}/{entry.port}/{asked}"


def _subject(entry: Entry, namespace: str) -> ResourceRef:
    return ResourceRef(
        source=entry.source,
        resource_type=entry.resource_type,
        resource_name=entry.name or entry.selector,
        namespace=namespace,
        remote_port=entry.port,
        origin=entry.origin,
    )


def _unasked(entry: Entry, index: int, facts: Facts) -> NotRequested:
    namespace = entry.namespace or facts.namespace
    ident = f"{_group(entry, namespace)}{index}"  # several may stand in one line, and ask for the same
    return NotRequested(id=ident, subject=_subject(entry, namespace), reason="mode user is off")


def _entry(entry: Entry, namespaces: Namespaces, ident: str, group: str, address: str, facts: Facts) -> Verdict:
    namespace = namespaces.of(entry)
    subject = _subject(entry, namespace)
    if entry.kind == CONTAINER:
        return container_verdict(entry, subject, ident, group, address, facts)
    if reason := _contested(entry, namespaces) or _why_not(entry, namespace, ident, facts):
        return Skip(id=ident, subject=subject, reason=reason)
    found = _find(entry, namespace, facts)
    return PlannedForward(
        id=ident,
        subject=subject,
        spec=spec(ident, group, address, entry.local_port, facts, eager=entry.kind == "pod"),
        endpoints=found.endpoints,
        waiting_for=found.waiting_for,
        broken=found.broken,
        because=f"it is asked for by {entry.origin}",
        called=spellings(_target(entry, namespace, facts), entry.port),
    )


def _contested(entry: Entry, namespaces: Namespaces) -> str:
    several = ", ".join(namespaces.contested(entry))
    return several and f"{entry.kind} {entry.name or entry.selector} is in namespaces {several}: say which one"


def _why_not(entry: Entry, namespace: str, ident: str, facts: Facts) -> str:
    """The reason for a no, or ""."""
    target = _target(entry, namespace, facts)
    if isinstance(target, Service) and (unable := unreachable(target, service_port(target, entry.port))):
        return unable
    labels = target.metadata.labels or {} if isinstance(target, Resource) else {}
    if entry.source == "user":
        thing = RuleTarget(entry.kind, entry.name, namespace, labels, spellings(target, entry.port))
        if excluded := facts.rules.excluded(thing):
            return excluded
    own = held_by_skaffold(facts, entry.kind, entry.name, namespace, (entry.port,))
    if own is not None and entry.local_port.number not in {0, own.local_port}:
        return ""  # what the entry asks for is not what Skaffold has, and nobody else serves it
    return left_to_skaffold(own, ident, entry.local_port, facts)


def _find(entry: Entry, namespace: str, facts: Facts) -> EndpointResult:
    watch, cluster = target_in(namespace, entry), facts.cluster
    target = _target(entry, namespace, facts)
    needed = unlisted_of(entry.kind, namespace, target, facts) if cluster.synced(watch) else watch
    if needed is not None:
        return not_listed(needed, facts)
    if target is None:
        what = f"{entry.kind} {entry.name}" if entry.name else f"a {entry.kind} with labels {entry.selector}"
        missing = f"{what} does not exist in namespace {namespace}"
        return (
            EndpointResult(broken=missing + _meant(entry, facts))
            if facts.deployed
            else EndpointResult(waiting_for=f"{missing} yet")
        )
    if entry.selector and isinstance(target, Pod):
        pods = [pod for pod in cluster.objects[watch].values() if isinstance(pod, Pod)]
        return serving(pods, entry.port, f"{entry.kind} {entry.selector}")
    return endpoints_of(target, entry.kind, entry.port, neighbours(entry.kind, namespace, target, facts))


def _meant(entry: Entry, facts: Facts) -> str:
    """The name that was meant, where the run has an object of one like it."""
    names = [item.metadata.name for item in run.objects(kinds.BY_NAME[entry.kind], facts)]
    return did_you_mean(entry.name, names[:COMPARED_NAMES]) if entry.name else ""


def _target(entry: Entry, namespace: str, facts: Facts) -> Object | None:
    """The entry's object; of those that a selector finds the newest."""
    there = facts.cluster.objects.get(target_in(namespace, entry), {})
    if entry.selector:
        found = (item for item in there.values() if isinstance(item, Resource))
        return max(found, key=lambda item: (item.metadata.creation_timestamp or "", item.metadata.name), default=None)
    return there.get((namespace, entry.name))


def _bad(entry: BadEntry, index: int) -> Skip:
    subject = ResourceRef(
        source="user",
        resource_type=entry.resource_type,
        resource_name=entry.name,
        namespace=entry.namespace,
        remote_port=entry.port,
        origin=entry.origin,
    )
    ident = f"user/bad-{index}/{entry.resource_type.lower()}/{entry.name}/{entry.port}"
    return Skip(id=ident, subject=subject, reason=f"{entry.origin}: {entry.reason}")
