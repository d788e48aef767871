"""The verdict on each entry of skaffold.yaml and of the command line, in their order. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count

from forwarders.spec import PortPolicy
from watcher.cluster import kinds
from watcher.cluster.kinds import Pod, Resource, Service
from watcher.config.entries import CONTAINER, BadEntry, Entry, RuleTarget
from watcher.errors import did_you_mean
from watcher.plan import run
from watcher.plan.endpoints import endpoints_of
from watcher.plan.facts import Facts
from watcher.plan.from_containers import container_verdict
from watcher.plan.pods import EndpointResult, Steps, endpoints_from_pods
from watcher.plan.ports import service_port, spellings, unreachable
from watcher.plan.required_watches import EntryNamespaces, entry_objects, entry_watch, missing_list, related_lists
from watcher.plan.verdicts import (
    NotRequested,
    ResourceRef,
    Skip,
    Verdict,
    forward_spec,
    held_by_skaffold,
    left_to_skaffold,
    not_listed,
    planned,
)
from watcher.skaffold.modes import Mode

# Comparing this many names takes a millisecond, in every plan while the object is missing.
COMPARED_NAMES = 100


def from_entries(facts: Facts) -> Iterator[Verdict | None]:
    """One verdict for each entry and address; with the Docker deployer one skip for all entries of other kinds.

    None is a moment to pause.
    """
    if Mode.USER in facts.modes:
        yield from (_bad(entry, index) for index, entry in enumerate(facts.bad_entries))
    yield from _not_of_docker(facts)
    namespaces = EntryNamespaces(facts)
    seen: dict[str, Entry] = {}
    ids: set[str] = set()
    for entry in facts.active_entries:
        if facts.containers is not None and entry.kind != CONTAINER:
            continue
        namespace = namespaces.of(entry)
        for address in dict.fromkeys(entry.addresses or facts.addresses):
            # The id has the namespace as written: one that was looked up may be another one tomorrow.
            group, target = _group(entry, entry.namespace or facts.namespace), _group(entry, namespace)
            earlier = seen.get(target + address)
            # Two explicit local ports for one target are two forwards (skaffold#6069: Skaffold drops one).
            explicit = entry.local_port.policy is PortPolicy.EXPLICIT
            if earlier is not None and explicit and entry.local_port != earlier.local_port:
                group, target = (f"{key}{entry.local_port.number}/" for key in (group, target))
                earlier = seen.get(target + address)
            seen.setdefault(target + address, entry)
            names = chain([group + address], (f"{group}{address}/{n}" for n in count(2)))
            ident = next(name for name in names if name not in ids)
            ids.add(ident)
            if earlier is None:
                yield (yield from _entry(entry, namespaces, ident, group, address, facts))
            else:
                reason = f"{entry.origin} asks for what {earlier.origin} asks for already"
                yield Skip(id=ident, subject=_subject(entry, namespace), reason=reason)
    yield from (_not_requested(entry, index, facts) for index, entry in enumerate(facts.passive_entries))


def _not_of_docker(facts: Facts) -> Iterator[Skip]:
    foreign = [] if facts.containers is None else [e for e in facts.active_entries if e.kind != CONTAINER]
    if foreign:
        first, names = foreign[0], ", ".join(f"{entry.kind}/{entry.name or entry.selector}" for entry in foreign)
        reason = f"the Docker deployer has only containers; it ignores {names}"
        yield Skip(id=f"{first.source}/kubernetes", subject=_subject(first, first.namespace), reason=reason)


def _group(entry: Entry, namespace: str) -> str:
    """The group of the entry's forwards: Skaffold's key; of direct entries also with the requested local port."""
    port = f"{entry.local_port.policy.value}-{entry.local_port.number}/" if entry.source == "direct" else ""
    return f"{entry.source}/{namespace}/{entry.kind}/{entry.name or entry.selector}/{entry.port}/{port}"


def _subject(entry: Entry, namespace: str) -> ResourceRef:
    return ResourceRef(
        source=entry.source,
        resource_type=entry.resource_type,
        resource_name=entry.name or entry.selector,
        namespace=namespace,
        remote_port=entry.port,
        origin=entry.origin,
        open_path=entry.open_path,
    )


def _not_requested(entry: Entry, index: int, facts: Facts) -> NotRequested:
    namespace = entry.namespace or facts.namespace
    ident = f"{_group(entry, namespace)}{index}"  # one line may have several entries for the same port
    return NotRequested(id=ident, subject=_subject(entry, namespace), reason="mode user is off")


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


def _entry(
    entry: Entry, namespaces: EntryNamespaces, ident: str, group: str, address: str, facts: Facts
) -> Steps[Verdict]:
    namespace = namespaces.of(entry)
    subject = _subject(entry, namespace)
    if entry.kind == CONTAINER:
        return container_verdict(entry, subject, ident, group, address, facts)
    target = _target(entry, namespace, facts)
    if reason := namespaces.contested(entry) or _why_not(entry, target, subject, ident, facts):
        return Skip(id=ident, subject=subject, reason=reason)
    spec = forward_spec(group, address, entry.local_port, facts, ident=ident, eager=entry.kind == "pod")
    because = f"it is asked for by {entry.origin}"
    found = yield from _find(entry, target, namespace, facts)
    return planned(spec, subject, found, because, spellings(target, entry.port))


def _why_not(entry: Entry, target: Resource | None, subject: ResourceRef, ident: str, facts: Facts) -> str:
    """The reason not to forward an entry, or ""."""
    if isinstance(target, Service) and (unable := unreachable(target, service_port(target, entry.port))):
        return unable
    if entry.source == "user":
        labels = (target.metadata.labels if target is not None else None) or {}
        of_rule = RuleTarget(entry.kind, entry.name, subject.namespace, labels, spellings(target, entry.port))
        if excluded := facts.rules.excluded(of_rule):
            return excluded
    own = held_by_skaffold(entry.kind, {entry.name}, subject.namespace, (entry.port,), facts)
    if own is not None and entry.local_port.number not in {0, own.local_port}:
        return ""  # the entry requests another local port than the one that Skaffold has
    return left_to_skaffold(own, ident, entry.local_port, facts)


def _find(entry: Entry, target: Resource | None, namespace: str, facts: Facts) -> Steps[EndpointResult]:
    watch, cluster = entry_watch(entry, namespace), facts.cluster
    needed = missing_list(entry.kind, namespace, target, facts) if cluster.synced(watch) else watch
    if needed is not None:
        return not_listed(needed, facts)
    if target is None:
        what = f"{entry.kind} {entry.name}" if entry.name else f"a {entry.kind} with labels {entry.selector}"
        missing = f"{what} does not exist in namespace {namespace}"
        if not facts.deployed or watch in cluster.outdated:
            return EndpointResult(waiting_for=f"{missing} yet")
        return EndpointResult(broken=missing + _similar(entry, facts))
    if entry.selector and isinstance(target, Pod):
        pods = [pod for pod in cluster.objects[watch].values() if isinstance(pod, Pod)]
        return (yield from endpoints_from_pods(pods, entry.port, f"{entry.kind} {entry.selector}"))
    related = related_lists(entry.kind, namespace, target, facts)
    return (yield from endpoints_of(target, entry.kind, entry.port, related))


def _similar(entry: Entry, facts: Facts) -> str:
    """The end of a reason that names the run's object with a similar name, or "".

    An equal name is not suggested: that object is in another namespace.
    """
    names = [item.metadata.name for item in run.objects(kinds.BY_NAME[entry.kind], facts)]
    others = [name for name in names[:COMPARED_NAMES] if name != entry.name]
    return did_you_mean(entry.name, others) if entry.name else ""


def _target(entry: Entry, namespace: str, facts: Facts) -> Resource | None:
    """The object that an entry forwards to; the newest of those that its selector matches."""
    there = entry_objects(entry, namespace, facts)
    return max(there, key=lambda item: (item.metadata.creation_timestamp or "", item.metadata.name), default=None)
