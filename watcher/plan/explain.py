"""Owns the plan as answers: for each entry, service, pod, container and port seen one verdict, and its rule. Pure.

A thing that is asked for at several addresses is one thing.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from watcher.plan import run
from watcher.plan.facts import Facts
from watcher.plan.owners import owner_of
from watcher.plan.plan import Plan
from watcher.plan.verdicts import Published, Subject, Verdict, Wanted
from watcher.skaffold.modes import Mode


class Explanation(Struct, frozen=True, kw_only=True):
    """`rule`: what decided. `forwards`: the ids of the forwards that came of it, () where there is none."""

    subject: Subject
    forwarded: bool
    rule: str
    forwards: tuple[str, ...] = ()


def explain(plan: Plan, facts: Facts) -> tuple[Explanation, ...]:
    """In the plan's order: what is forwarded, what is not, what nobody asked for; then the pods seen."""
    found: dict[tuple[Subject, str], Explanation] = {}
    verdicts: tuple[Verdict, ...] = (*plan.forwards, *plan.published, *plan.skips, *plan.passed)
    for verdict in verdicts:
        rule = _rule(verdict)
        known = found.get((verdict.subject, rule))
        before = known.forwards if known else ()
        forwarded = isinstance(verdict, Wanted | Published)
        own = (verdict.id,) if forwarded else ()
        found[verdict.subject, rule] = Explanation(
            subject=verdict.subject,
            forwarded=forwarded,
            rule=rule,
            forwards=(*before, *own),
        )
    return (*found.values(), *_pods(plan, facts))


def _rule(verdict: Verdict) -> str:
    return verdict.because if isinstance(verdict, Wanted | Published) else verdict.reason


def _pods(plan: Plan, facts: Facts) -> Iterator[Explanation]:
    """A pod has its owner's verdicts; one that nothing made is its own owner, and has them already."""
    if not facts.modes & {Mode.PODS, Mode.DEBUG}:
        return
    for pod in run.pods(facts):
        owner = owner_of(pod)
        if owner.kind == "pod":
            continue
        prefix = f"/{owner.namespace}/{owner.kind}/{owner.name}/"
        ids = tuple(
            wanted.id
            for wanted in plan.forwards
            if wanted.subject.source in {"pods", "debug"} and wanted.id.startswith(f"{wanted.subject.source}{prefix}")
        )
        subject = Subject(
            source=(Mode.PODS if Mode.PODS in facts.modes else Mode.DEBUG).value,
            resource_type="pod",
            resource_name=pod.metadata.name,
            namespace=pod.metadata.namespace,
        )
        rule = f"it goes with {owner.kind} {owner.name}"
        yield Explanation(subject=subject, forwarded=bool(ids), rule=rule, forwards=ids)
