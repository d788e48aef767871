"""Owns the verdict on each entry of skaffold.yaml and of the command line, in the order they stand there. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from forwarders.spec import Ask
from watcher.cluster.objects import Pod, Workload
from watcher.config.entries import CONTAINER, BadEntry, Entry
from watcher.plan.endpoints import Found, endpoints_of
from watcher.plan.facts import Facts
from watcher.plan.namespaces import jobs_in, namespace_of, pods_in, target_in
from watcher.plan.needs import active_entries
from watcher.plan.verdicts import Skip, Wanted, held_by_skaffold, skaffold_has_it, spec, unlisted
from watcher.skaffold.modes import Mode


def from_entries(facts: Facts) -> Iterator[Wanted | Skip]:
    """One verdict for each entry and address."""
    if Mode.USER in facts.modes:
        yield from (_bad(entry, index) for index, entry in enumerate(facts.bad_entries))
    seen: dict[str, Entry] = {}
    for entry in active_entries(facts):
        namespace = namespace_of(entry, facts)
        for address in dict.fromkeys(entry.addresses or facts.addresses):
            group = _group(entry, namespace)
            earlier = seen.get(group + address)
            # Two explicit local ports for one target are two forwards (skaffold#6069: Skaffold drops one).
            if earlier is not None and entry.wish.ask is Ask.EXPLICIT and entry.wish != earlier.wish:
                group += f"{entry.wish.number}/"
                earlier = seen.get(group + address)
            if earlier is None:
                seen[group + address] = entry
                yield _entry(entry, namespace, group, address, facts)
            else:
                ident = next(name for n in count(2) if (name := f"{group}{address}/{n}") not in seen)
                seen[ident] = entry
                yield _skip(entry, ident, namespace, f"{entry.origin} asks for what {earlier.origin} asks for already")


def _group(entry: Entry, namespace: str) -> str:
    """What the entry's forwards share. Skaffold's key, but direct entries differ by the local port they ask for too."""
    asked = f"{entry.wish.ask.value}-{entry.wish.number}/" if entry.source == "direct" else ""
    return f"{entry.source}/{namespace}/{entry.kind}/{entry.name}/{entry.port}/{asked}"


def _entry(entry: Entry, namespace: str, group: str, address: str, facts: Facts) -> Wanted | Skip:
    ident = group + address
    if entry.kind == CONTAINER:
        reason = "containers belong to the Docker deployer, which publishes their ports itself"
        return _skip(entry, ident, namespace, reason)
    own = held_by_skaffold(facts, entry.kind, entry.name, namespace, (entry.port,))
    if own is not None:
        return _skip(entry, ident, namespace, skaffold_has_it(own))
    found = _find(entry, namespace, facts)
    return Wanted(
        id=ident,
        source=entry.source,
        resource_type=entry.resource_type,
        resource_name=entry.name,
        namespace=namespace,
        container="",
        remote_port=entry.port,
        spec=spec(ident, group, address, entry.wish, facts, eager=entry.kind == "pod"),
        endpoints=found.endpoints,
        waiting_for=found.waiting_for,
        broken=found.broken,
        because=f"it is asked for by {entry.origin}",
    )


def _find(entry: Entry, namespace: str, facts: Facts) -> Found:
    watch, cluster = target_in(namespace, entry), facts.cluster
    lists = [watch, pods_in(namespace), *([jobs_in(namespace)] if entry.kind == "cronjob" else [])]
    for needed in lists:
        if not cluster.synced(needed):
            why, refused = unlisted(needed, facts)
            return Found(broken=why) if refused else Found(waiting_for=why)
    target = cluster.objects[watch].get((namespace, entry.name))
    if target is None:
        missing = f"{entry.kind} {entry.name} does not exist in namespace {namespace}"
        return Found(broken=missing) if facts.deployed else Found(waiting_for=f"{missing} yet")
    pods = [pod for pod in cluster.objects[pods_in(namespace)].values() if isinstance(pod, Pod)]
    jobs = [job for job in cluster.objects.get(jobs_in(namespace), {}).values() if isinstance(job, Workload)]
    return endpoints_of(target, entry.kind, entry.port, pods, jobs)


def _skip(entry: Entry, ident: str, namespace: str, reason: str) -> Skip:
    return Skip(
        id=ident,
        source=entry.source,
        resource_type=entry.resource_type,
        resource_name=entry.name,
        namespace=namespace,
        container="",
        remote_port=entry.port,
        reason=reason,
    )


def _bad(entry: BadEntry, index: int) -> Skip:
    return Skip(
        id=f"user/bad-{index}/{entry.resource_type.lower()}/{entry.name}/{entry.port}",
        source="user",
        resource_type=entry.resource_type,
        resource_name=entry.name,
        namespace=entry.namespace,
        container="",
        remote_port=entry.port,
        reason=f"{entry.origin}: {entry.reason}",
    )
