"""Owns the plan as answers: for each entry, service, pod, container and port seen one verdict, and its rule. Pure.

A thing that is asked for at several addresses is one thing: no two verdicts have the same subject.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from watcher.plan import run
from watcher.plan.facts import Facts
from watcher.plan.owners import owner_of
from watcher.plan.plan import Plan
from watcher.plan.verdicts import Published, Subject, Verdict, Wanted
from watcher.skaffold.modes import Mode


class Explanation(Struct, frozen=True, kw_only=True):
    """`rule`: what decided. `forwards`: the ids of the forwards that came of it, () where there is none.

    `forwarded`: it leads somewhere, or will as soon as what it waits for is there; else `reason` says what is wrong.
    """

    subject: Subject
    forwarded: bool
    rule: str
    reason: str = ""
    forwards: tuple[str, ...] = ()


def explain(plan: Plan, facts: Facts, failures: Mapping[str, str] = {}) -> tuple[Explanation, ...]:
    """In the plan's order: what is forwarded, what is not, what nobody asked for; then the pods seen.

    `failures`: by forward, why it has no port.
    """
    found: dict[Subject, Explanation] = {}
    verdicts: tuple[Verdict, ...] = (*plan.forwards, *plan.published, *plan.skips, *plan.passed)
    for verdict in verdicts:
        now = _explanation(verdict, failures)
        known = found.get(verdict.subject)
        found[verdict.subject] = now if known is None else _together(known, now)
    return (*found.values(), *_pods(plan, facts))


def _explanation(verdict: Verdict, failures: Mapping[str, str]) -> Explanation:
    match verdict:
        case Wanted():
            problem = failures.get(verdict.id) or ("" if verdict.endpoints else verdict.broken)
            runs = any(endpoint.running for endpoint in verdict.endpoints)
            return Explanation(
                subject=verdict.subject,
                forwarded=not problem,
                rule=verdict.because,
                reason=problem or ("" if runs else verdict.waiting_for),
                forwards=(verdict.id,),
            )
        case Published():
            return Explanation(subject=verdict.subject, forwarded=True, rule=verdict.because, forwards=(verdict.id,))
        case _:
            return Explanation(subject=verdict.subject, forwarded=False, rule=verdict.reason)


def _together(known: Explanation, other: Explanation) -> Explanation:
    """One thing at several addresses: it is forwarded where one of them is."""
    told, less = (known, other) if known.forwarded or not other.forwarded else (other, known)
    return replace(told, forwards=(*known.forwards, *other.forwards), reason=told.reason or less.reason)


def _pods(plan: Plan, facts: Facts) -> Iterator[Explanation]:
    """A pod has its owner's verdicts; one that nothing made is its own owner, and has them already."""
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
