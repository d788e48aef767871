"""Turns the plan into answers: for each entry, service, pod, container and port seen one verdict, and its rule. Pure.

A port that several sources have seen (an entry and mode services) gets the verdict of the one that decided: a forward,
else a reason against one, else that nobody asked. Asked for at several addresses it is still one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from watcher.plan import run
from watcher.plan.controllers import Owner, owner_of
from watcher.plan.facts import Facts
from watcher.plan.plan import Plan
from watcher.plan.verdicts import PlannedForward, Published, ResourceRef, Verdict
from watcher.skaffold.modes import Mode


class Explanation(Struct, frozen=True, kw_only=True):
    """`rule`: what decided. `forwards`: the ids of the forwards that came of it, () where there is none.

    `forwarded`: it leads somewhere, or will as soon as what it waits for is there; else `reason` says what is wrong.
    """

    subject: ResourceRef
    forwarded: bool
    rule: str
    reason: str = ""
    forwards: tuple[str, ...] = ()


def explain(plan: Plan, facts: Facts, failures: Mapping[str, str] = {}) -> tuple[Explanation, ...]:
    """In the plan's order: what is forwarded, what is not, what nobody asked for; then the pods seen.

    `failures`: by forward, why it has no port.
    """
    found: dict[ResourceRef, Explanation] = {}
    for verdict in _decisive(plan):
        now = _explanation(verdict, failures)
        known = found.get(verdict.subject)
        found[verdict.subject] = now if known is None else _together(known, now)
    return (*found.values(), *_pods(plan, facts))


def _decisive(plan: Plan) -> Iterator[Verdict]:
    """Every forward, and every verdict but those on ports that another source decides."""
    decided: dict[_Port, str] = {}
    verdicts: tuple[Verdict, ...] = (*plan.forwards, *plan.published, *plan.skips, *plan.passed)
    for verdict in verdicts:
        source, ports = verdict.subject.source, _ports(verdict)
        if not isinstance(verdict, PlannedForward) and any(decided.get(port, source) != source for port in ports):
            continue
        for port in ports:
            decided.setdefault(port, source)
        yield verdict


# Namespace, type, name, and the port as a number or a name.
_Port = tuple[str, str, str, int | str]


def _ports(verdict: Verdict) -> set[_Port]:
    """What the verdict's port is called; none for a thing as a whole, and for what TCP's verdict says nothing about."""
    subject = verdict.subject
    called = verdict.called if isinstance(verdict, PlannedForward) else ()
    if subject.remote_port == "" or subject.protocol != "TCP":
        return set()
    thing = subject.namespace, subject.resource_type.lower(), subject.resource_name
    return {(*thing, port) for port in (subject.remote_port, subject.port_name, *called) if port != ""}


def _explanation(verdict: Verdict, failures: Mapping[str, str]) -> Explanation:
    match verdict:
        case PlannedForward():
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
        ids = tuple(wanted.id for wanted in plan.forwards if _belongs_to(owner, wanted.subject))
        subject = ResourceRef(
            source=(Mode.PODS if Mode.PODS in facts.modes else Mode.DEBUG).value,
            resource_type="pod",
            resource_name=pod.metadata.name,
            namespace=pod.metadata.namespace,
        )
        rule = f"it goes with {owner.kind} {owner.name}"
        yield Explanation(subject=subject, forwarded=bool(ids), rule=rule, forwards=ids)


def _belongs_to(owner: Owner, subject: ResourceRef) -> bool:
    kind = subject.resource_type.lower()
    return (kind, subject.resource_name, subject.namespace) == (owner.kind, owner.name, owner.namespace)
