"""Owns the comparison of the plan with what runs: the shortest list of stop, start and update. Pure.

Refuses to know why. A forward whose spec is unchanged is never stopped, whatever happened to its pods.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from watcher.plan.plan import Plan, Wanted


class Stop(Struct, frozen=True):
    id: str


class Start(Struct, frozen=True):
    wanted: Wanted


class Update(Struct, frozen=True):
    """The same listener, other pods (or another reason why there are none)."""

    wanted: Wanted


Change = Stop | Start | Update


def diff(running: Mapping[str, Wanted], plan: Plan, ports: Mapping[str, int]) -> tuple[Change, ...]:
    """Changes in the order to make them: stops, updates, then starts with the reserved ports first.

    `ports`: the local port of each running forward that has one. A forward that sits on a port which a new forward now
    asks for by number, and does not itself hold it by right, is stopped and started again after that one.
    """
    planned = {wanted.id: wanted for wanted in plan.forwards}
    claimed = {
        wanted.spec.port.number for wanted in plan.forwards if wanted.spec.port.reserved and not _stays(wanted, running)
    }
    stop: list[Change] = []
    update: list[Change] = []
    stopped = set()
    for ident, now in running.items():
        wanted = planned.get(ident)
        by_right = wanted is not None and wanted.spec.port.reserved and wanted.spec.port.number == ports.get(ident)
        evicted = ports.get(ident) in claimed and not by_right
        if wanted is None or wanted.spec != now.spec or evicted:
            stop.append(Stop(ident))
            stopped.add(ident)
        elif wanted != now:
            update.append(Update(wanted))
    starts = [wanted for wanted in plan.forwards if wanted.id not in running or wanted.id in stopped]
    starts.sort(key=lambda wanted: not wanted.spec.port.reserved)
    return (*stop, *update, *(Start(wanted) for wanted in starts))


def _stays(wanted: Wanted, running: Mapping[str, Wanted]) -> bool:
    now = running.get(wanted.id)
    return now is not None and now.spec == wanted.spec
