"""Compares the plan with what runs: the shortest list of stops, updates and starts. Pure.

A forward whose spec did not change is never stopped, whatever happened to its pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from watcher.plan.plan import Plan
from watcher.plan.verdicts import PlannedForward


class Stop(Struct, frozen=True):
    id: str


class Start(Struct, frozen=True):
    forward: PlannedForward


class Update(Struct, frozen=True):
    """Keep the listener; give it other endpoints, or another reason why there are none."""

    forward: PlannedForward


Change = Stop | Start | Update


def diff(running: Mapping[str, PlannedForward], plan: Plan, ports: Mapping[str, int]) -> tuple[Change, ...]:
    """The changes in the order to make them: stops, updates, then starts with the reserved ports first.

    `ports`: the local port of each running forward that has one. Beside forwards that changed, two others are stopped
    and started again: one whose port a new forward reserves (unless it reserves the port itself), and one without a
    port whose requested port becomes free.
    """
    stops = _outdated(running, plan, ports)
    stops |= _freed(running, plan, ports, stops)
    starts = [planned for planned in plan.forwards if _is_new(planned, running, stops)]
    starts.sort(key=lambda planned: not planned.spec.port.reserved)
    kept = [planned for planned in plan.forwards if not _is_new(planned, running, stops)]
    return (
        *(Stop(ident) for ident in running if ident in stops),
        *(Update(planned) for planned in kept if planned != running[planned.id]),
        *(Start(planned) for planned in starts),
    )


def _outdated(running: Mapping[str, PlannedForward], plan: Plan, ports: Mapping[str, int]) -> set[str]:
    """The forwards that are not planned any more, have another spec, or have to give up their port."""
    planned = {forward.id: forward for forward in plan.forwards}
    gone = {ident for ident, now in running.items() if ident not in planned or planned[ident].spec != now.spec}
    claimed = _reserved(forward for forward in plan.forwards if _is_new(forward, running, gone))
    squatting = {
        ident for ident in running.keys() - gone if ports.get(ident, 0) in claimed - _reserved([planned[ident]])
    }
    return gone | squatting


def _freed(running: Mapping[str, PlannedForward], plan: Plan, ports: Mapping[str, int], stops: set[str]) -> set[str]:
    """The forwards without a port whose requested port is free after these stops."""
    freed = {ports[ident] for ident in stops if ident in ports}
    freed -= _reserved(planned for planned in plan.forwards if _is_new(planned, running, stops))
    return {ident for ident, now in running.items() if ident not in ports and _reserved([now]) & freed}


def _is_new(planned: PlannedForward, running: Mapping[str, PlannedForward], stops: set[str]) -> bool:
    return planned.id not in running or planned.id in stops


def _reserved(forwards: Iterable[PlannedForward]) -> set[int]:
    return {forward.spec.port.number for forward in forwards if forward.spec.port.reserved}
