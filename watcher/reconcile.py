"""Owns the comparison of the plan with what runs: the shortest list of stop, start and update. Pure.

Refuses to know why. A forward whose spec is unchanged is never stopped, whatever happened to its pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from watcher.plan.plan import Plan
from watcher.plan.verdicts import PlannedForward


class Stop(Struct, frozen=True):
    id: str


class Start(Struct, frozen=True):
    wanted: PlannedForward


class Update(Struct, frozen=True):
    """The same listener, other pods (or another reason why there are none)."""

    wanted: PlannedForward


Change = Stop | Start | Update


def diff(running: Mapping[str, PlannedForward], plan: Plan, ports: Mapping[str, int]) -> tuple[Change, ...]:
    """Changes in the order to make them: stops, updates, then starts with the reserved ports first.

    `ports`: the local port of each running forward that has one. Stopped and started again, apart from what changed:
    a forward that sits on a port which a new one reserves, unless it reserves that itself; and a forward that has no
    port because another one had it, once that one goes.
    """
    stops = _outdated(running, plan, ports)
    stops |= _freed(running, plan, ports, stops)
    starts = [wanted for wanted in plan.forwards if _is_new(wanted, running, stops)]
    starts.sort(key=lambda wanted: not wanted.spec.port.reserved)
    updates = [
        wanted for wanted in plan.forwards if not _is_new(wanted, running, stops) and wanted != running[wanted.id]
    ]
    return (
        *(Stop(ident) for ident in running if ident in stops),
        *(Update(wanted) for wanted in updates),
        *(Start(wanted) for wanted in starts),
    )


def _outdated(running: Mapping[str, PlannedForward], plan: Plan, ports: Mapping[str, int]) -> set[str]:
    """What is not wanted any more, or not so, or not there."""
    planned = {wanted.id: wanted for wanted in plan.forwards}
    gone = {ident for ident, now in running.items() if ident not in planned or planned[ident].spec != now.spec}
    claimed = _reserved(wanted for wanted in plan.forwards if _is_new(wanted, running, gone))
    squatting = {
        ident for ident in running.keys() - gone if ports.get(ident, 0) in claimed - _reserved([planned[ident]])
    }
    return gone | squatting


def _freed(running: Mapping[str, PlannedForward], plan: Plan, ports: Mapping[str, int], stops: set[str]) -> set[str]:
    """What has no port and may have one now: nobody else binds it again after these stops."""
    freed = {ports[ident] for ident in stops if ident in ports}
    freed -= _reserved(wanted for wanted in plan.forwards if _is_new(wanted, running, stops))
    return {ident for ident, now in running.items() if ident not in ports and _reserved([now]) & freed}


def _is_new(wanted: PlannedForward, running: Mapping[str, PlannedForward], stops: set[str]) -> bool:
    return wanted.id not in running or wanted.id in stops


def _reserved(forwards: Iterable[PlannedForward]) -> set[int]:
    return {wanted.spec.port.number for wanted in forwards if wanted.spec.port.reserved}
