"""The plan: which forwards shall run, what is not forwarded, and why. Pure.

The order is Skaffold's: user entries, then services, then pods; inside each the order of the file, or of namespace,
name and port. Equal facts give an equal plan, in whatever order the cluster's objects came.

Each cluster is planned as if it were the only one; then its key is added to its ids. The default cluster's key is "".
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from forwarders.spec import Endpoint
from watcher.cluster.store import Snapshot
from watcher.plan import run
from watcher.plan.facts import Facts, id_suffix, of_cluster, per_cluster
from watcher.plan.from_containers import published_beside
from watcher.plan.from_entries import from_entries
from watcher.plan.from_pods import from_pods
from watcher.plan.from_services import from_services
from watcher.plan.pods import OwnerKey, forget_old_views, own_address, owner_of
from watcher.plan.verdicts import NotRequested, PlannedForward, Published, ResourceRef, Skip, Verdict
from watcher.skaffold.modes import Mode

# Across clusters local ports are given out in Skaffold's order: by entries, services, then pods.
_RANK_OF_SOURCE = {"user": 0, "direct": 0, "services": 1}


class Plan(Struct, frozen=True):
    """Every verdict, by its class; ids are unique over all."""

    forwards: tuple[PlannedForward, ...] = ()
    skips: tuple[Skip, ...] = ()
    not_requested: tuple[NotRequested, ...] = ()
    published: tuple[Published, ...] = ()


def plan_in_steps(facts: Facts) -> Generator[None, None, Plan]:
    """Makes the plan, with a pause after each step of a few milliseconds. What changes meanwhile may be in it or not.

    So a change of the facts during the steps needs another plan. The facts of different watches never belong to the
    same moment anyway.
    """
    forget_old_views()
    verdicts: list[Verdict] = []
    for verdict in _verdicts(facts):
        if verdict is not None:
            verdicts.append(verdict)
        yield
    forwards = [verdict for verdict in verdicts if isinstance(verdict, PlannedForward)]
    if facts.others:
        forwards.sort(key=lambda one: _RANK_OF_SOURCE.get(one.subject.source, 2))
    return Plan(
        forwards=tuple(forwards),
        skips=tuple(verdict for verdict in verdicts if isinstance(verdict, Skip)),
        not_requested=tuple(verdict for verdict in verdicts if isinstance(verdict, NotRequested)),
        published=tuple(verdict for verdict in verdicts if isinstance(verdict, Published)),
    )


def _verdicts(facts: Facts) -> Iterator[Verdict | None]:
    """Yields the verdicts of each cluster, and last a skip for each entry of a cluster that cannot be reached."""
    for key, part in per_cluster(facts).items():
        verdicts = _of_cluster(part)
        if key in facts.direct:
            verdicts = with_own_addresses(verdicts, part.cluster)
        yield from (verdict and _stamped(verdict, key, part.context) for verdict in verdicts)
    for other in (other for other in facts.others if other.problem):
        part = replace(of_cluster(other, facts), modes=facts.modes & {Mode.USER}, cluster=Snapshot(), own_forwards=())
        for verdict in _of_cluster(part):
            if isinstance(verdict, PlannedForward | Skip):
                skip = Skip(id=verdict.id, subject=verdict.subject, reason=other.problem)
                yield _stamped(skip, other.context, other.context)


def _of_cluster(facts: Facts) -> Iterator[Verdict | None]:
    yield from from_entries(facts)
    yield from from_services(facts)
    yield from from_pods(facts)
    yield from published_beside(facts)


def _stamped(verdict: Verdict, key: str, context: str) -> Verdict:
    """The verdict with its cluster in ids and subject."""
    if not context:
        return verdict
    suffix, subject = id_suffix(key), replace(verdict.subject, context=context)
    if not isinstance(verdict, PlannedForward):
        return replace(verdict, id=verdict.id + suffix, subject=subject)
    if not key:
        return replace(verdict, subject=subject)
    return replace(
        verdict,
        id=verdict.id + suffix,
        subject=subject,
        spec=replace(verdict.spec, id=verdict.spec.id + suffix, group=verdict.spec.group + suffix),
        endpoints=tuple(replace(endpoint, pod=replace(endpoint.pod, cluster=key)) for endpoint in verdict.endpoints),
        cluster=key,
    )


def with_own_addresses(verdicts: Iterable[Verdict | None], cluster: Snapshot) -> Iterator[Verdict | None]:
    """The verdicts; endpoints have `own_address` if their pod may be reached there, without the API server.

    The caller has made sure that this process is inside the cluster's network, or that the user says so. The forward
    tries the address and keeps its sessions, so a wrong yes costs one short try. Pods are those of working watches:
    while a watch fails, another pod may have been given the address.
    """
    for verdict in verdicts:
        if isinstance(verdict, PlannedForward):
            endpoints = tuple(_with_own_address(endpoint, cluster) for endpoint in verdict.endpoints)
            yield replace(verdict, endpoints=endpoints)
        else:
            yield verdict


def _with_own_address(endpoint: Endpoint, cluster: Snapshot) -> Endpoint:
    pod = cluster.pod(endpoint.pod.namespace, endpoint.pod.name, endpoint.pod.uid)
    return endpoint if pod is None else replace(endpoint, own_address=own_address(pod))


# --- explain


class Explanation(Struct, frozen=True, kw_only=True):
    """The verdict on one port for people. `rule`: what decided. `forwards`: the ids of the resulting forwards.

    `forwarded`: it is forwarded, or will be once what it waits for exists; else `reason` tells what is wrong.
    """

    subject: ResourceRef
    forwarded: bool
    rule: str
    reason: str = ""
    forwards: tuple[str, ...] = ()


def explain(plan: Plan, facts: Facts, failures: Mapping[str, str] = {}) -> tuple[Explanation, ...]:
    """One explanation for each entry, service, pod, container and port that was seen: in the plan's order, then pods.

    A port that several sources saw (an entry and mode services) gets the verdict of the source that decided: a forward,
    else a reason against one, else that nobody requested it. A port at several addresses is one. `failures`: by
    forward, why it has no port.
    """
    found: dict[ResourceRef, Explanation] = {}
    for verdict in _decisive(plan):
        now = _explanation(verdict, failures)
        known = found.get(verdict.subject)
        found[verdict.subject] = now if known is None else _combined(known, now)
    parts = per_cluster(facts).values()
    pods = (one for part in parts for one in _explain_pods(found.values(), part))
    order = [*(part.context for part in parts), *(other.context for other in facts.others)]
    return tuple(sorted((*found.values(), *pods), key=lambda one: order.index(one.subject.context)))


def _decisive(plan: Plan) -> Iterator[Verdict]:
    """Every forward, and every other verdict unless another source decides on its port."""
    decided: dict[_PortKey, str] = {}
    verdicts: tuple[Verdict, ...] = (*plan.forwards, *plan.published, *plan.skips, *plan.not_requested)
    for verdict in verdicts:
        source, ports = verdict.subject.source, _port_keys(verdict)
        if not isinstance(verdict, PlannedForward) and any(decided.get(port, source) != source for port in ports):
            continue
        for port in ports:
            decided.setdefault(port, source)
        yield verdict


# Context, namespace, type, name, and the port as a number or a name.
_PortKey = tuple[str, str, str, str, int | str]


def _port_keys(verdict: Verdict) -> set[_PortKey]:
    """The spellings of the verdict's port; none for a whole resource, and none for UDP ports: TCP's are other ports."""
    subject = verdict.subject
    called = verdict.called if isinstance(verdict, PlannedForward) else ()
    if subject.remote_port == "" or subject.protocol != "TCP":
        return set()
    resource = subject.context, subject.namespace, subject.resource_type.lower(), subject.resource_name
    return {(*resource, port) for port in (subject.remote_port, subject.port_name, *called) if port != ""}


def _explanation(verdict: Verdict, failures: Mapping[str, str]) -> Explanation:
    if isinstance(verdict, Skip | NotRequested):
        return Explanation(subject=verdict.subject, forwarded=False, rule=verdict.reason)
    problem = reason = ""
    if isinstance(verdict, PlannedForward):
        problem = failures.get(verdict.id) or ("" if verdict.endpoints else verdict.broken)
        runs = any(endpoint.running for endpoint in verdict.endpoints)
        reason = problem or ("" if runs else verdict.waiting_for)
    return Explanation(
        subject=verdict.subject, forwarded=not problem, rule=verdict.because, reason=reason, forwards=(verdict.id,)
    )


def _combined(known: Explanation, other: Explanation) -> Explanation:
    """Combines the explanations of one port at two addresses: it is forwarded if it is at one of them."""
    told, less = (known, other) if known.forwarded or not other.forwarded else (other, known)
    return replace(told, forwards=(*known.forwards, *other.forwards), reason=told.reason or less.reason)


def _explain_pods(found: Iterable[Explanation], facts: Facts) -> Iterator[Explanation]:
    """Explains each pod by its owner's verdicts. A pod without owner has its own, so it is left out here."""
    by_owner: dict[OwnerKey, list[Explanation]] = {}
    for one in found:
        subject = one.subject
        if one.forwards and subject.context == facts.context:
            owner = OwnerKey(subject.namespace, subject.resource_type.lower(), subject.resource_name)
            by_owner.setdefault(owner, []).append(one)
    for pod in run.pods(facts):
        owner = owner_of(pod)
        if owner.kind == "pod":
            continue
        ref = ResourceRef(
            source=(facts.pod_mode or Mode.DEBUG).value,
            resource_type="pod",
            resource_name=pod.metadata.name,
            namespace=pod.metadata.namespace,
            context=facts.context,
        )
        of_owner = by_owner.get(owner, [])
        forwarded = any(one.forwarded for one in of_owner)
        yield Explanation(
            subject=ref,
            forwarded=forwarded,
            rule=f"it goes with {owner.kind} {owner.name}",
            reason="" if forwarded else next((one.reason for one in of_owner), ""),
            forwards=tuple(ident for one in of_owner for ident in one.forwards),
        )
