"""Makes one plan for several clusters. Pure.

Each cluster has a plan of its own, made as if there were no other one; here the cluster is written on all that comes of
it. The default cluster's key is "", so that with one cluster nothing is different; the others' key is their context.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from msgspec.structs import replace

from watcher.cluster.store import OtherCluster, Snapshot, Watch
from watcher.plan import explain as explaining
from watcher.plan import needs as needing
from watcher.plan import plan as planning
from watcher.plan.explain import Explanation
from watcher.plan.facts import Facts
from watcher.plan.plan import Plan
from watcher.plan.verdicts import NotRequested, PlannedForward, Published, Skip
from watcher.skaffold.modes import Mode

V = TypeVar("V", NotRequested, Published, Skip)

# Skaffold's order, which is that of ports too: entries, services, then pods.
_ENTRIES, _SERVICES = {"user", "direct"}, {"services"}


def make_plan(facts: Facts) -> Plan:
    """The plan of all clusters; ids are unique over all."""
    if not facts.others:
        return _of(planning.make_plan(facts), "", facts.context)
    stamped = [_of(planning.make_plan(part), key, part.context) for key, part in _parts(facts).items()]
    return Plan(
        forwards=tuple(sorted((one for plan in stamped for one in plan.forwards), key=_rank)),
        skips=(*(one for plan in stamped for one in plan.skips), *_unread(facts)),
        passed=tuple(one for plan in stamped for one in plan.passed),
        published=tuple(one for plan in stamped for one in plan.published),
    )


def needs(facts: Facts) -> frozenset[Watch]:
    """The watches for these facts, in whichever cluster."""
    return frozenset(
        replace(watch, cluster=key) if key else watch
        for key, part in _parts(facts).items()
        for watch in needing.needs(part)
    )


def settled(facts: Facts, watches: frozenset[Watch]) -> bool:
    """Whether a plan stands on lists that have all ended. Another cluster that is away keeps nobody waiting."""
    parts = _parts(facts)
    default = frozenset(watch for watch in watches if not watch.cluster)
    elsewhere = [(parts[watch.cluster].cluster, replace(watch, cluster="")) for watch in watches - default]
    listed = all(cluster.synced(watch) or watch in cluster.problems for cluster, watch in elsewhere)
    return listed and needing.settled(parts[""], default)


def explain(plan: Plan, facts: Facts, failures: Mapping[str, str] = {}) -> tuple[Explanation, ...]:
    """One verdict for each thing, in the order of the clusters. `failures`: by forward, why it has no port."""
    if not facts.others:
        return explaining.explain(plan, facts, failures)
    found: list[Explanation] = []
    for key, part in _parts(facts).items():
        own = {_bare(ident, key): reason for ident, reason in failures.items() if ident.endswith(_suffix(key))}
        for one in explaining.explain(planning.make_plan(part), part, own):
            subject = replace(one.subject, context=part.context)
            found.append(replace(one, subject=subject, forwards=tuple(ident + _suffix(key) for ident in one.forwards)))
    unread = (Explanation(subject=skip.subject, forwarded=False, rule=skip.reason) for skip in _unread(facts))
    return (*found, *{one.subject: one for one in unread}.values())


def _parts(facts: Facts) -> dict[str, Facts]:
    """The facts of each cluster by its key, the default one first."""
    if not facts.others:
        return {"": facts}
    own = tuple(entry for entry in facts.entries if entry.context in {"", facts.context})
    return {"": replace(facts, entries=own, others=())} | {
        other.context: _part(other, facts) for other in facts.others if not other.problem
    }


def _part(other: OtherCluster, facts: Facts) -> Facts:
    """In a cluster that the run does not deploy to, only entries are looked at, each in the namespace that it names."""
    deployed_to = other.context in facts.contexts
    return replace(
        facts,
        modes=facts.modes if deployed_to else facts.modes & {Mode.USER},
        explain_requested=facts.explain_requested and deployed_to,
        namespace=facts.namespace if deployed_to else facts.namespace or other.namespace or "default",
        context=other.context,
        cluster=other.cluster,
        context_namespace=other.namespace,
        entries=tuple(entry for entry in facts.entries if entry.context == other.context),
        bad_entries=(),
        others=(),
        holding={_bare(ident, other.context): port for ident, port in facts.holding.items()},
    )


def _unread(facts: Facts) -> Iterable[Skip]:
    """The entries of clusters that the kubeconfig does not lead to."""
    for other in (other for other in facts.others if other.problem):
        modes = facts.modes & {Mode.USER}
        plan = planning.make_plan(replace(_part(other, facts), modes=modes, cluster=Snapshot(), own_forwards=()))
        asked = [(one.id, one.subject) for one in plan.forwards] + [(one.id, one.subject) for one in plan.skips]
        for ident, subject in asked:
            named = replace(subject, context=other.context)
            yield Skip(id=ident + _suffix(other.context), subject=named, reason=other.problem)


def _of(plan: Plan, key: str, context: str) -> Plan:
    """The plan with its cluster written on all of it."""
    if not context:
        return plan
    return Plan(
        forwards=tuple(_forward(one, key, context) for one in plan.forwards),
        skips=tuple(_verdict(one, key, context) for one in plan.skips),
        passed=tuple(_verdict(one, key, context) for one in plan.passed),
        published=tuple(_verdict(one, key, context) for one in plan.published),
    )


def _verdict(one: V, key: str, context: str) -> V:
    return replace(one, id=one.id + _suffix(key), subject=replace(one.subject, context=context))


def _forward(one: PlannedForward, key: str, context: str) -> PlannedForward:
    subject = replace(one.subject, context=context)
    if not key:
        return replace(one, subject=subject)
    suffix = _suffix(key)
    return replace(
        one,
        id=one.id + suffix,
        subject=subject,
        spec=replace(one.spec, id=one.spec.id + suffix, group=one.spec.group + suffix),
        endpoints=tuple(replace(endpoint, pod=replace(endpoint.pod, cluster=key)) for endpoint in one.endpoints),
        cluster=key,
    )


def _suffix(key: str) -> str:
    """No id of the default cluster has an @: names, namespaces and addresses do not."""
    return f"@{key}" if key else ""


def _bare(ident: str, key: str) -> str:
    return ident.removesuffix(_suffix(key))


def _rank(wanted: PlannedForward) -> int:
    source = wanted.subject.source
    return 0 if source in _ENTRIES else 1 if source in _SERVICES else 2
