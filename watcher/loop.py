"""Owns the one loop: facts → plan → the shortest list of changes → forwards. Whatever happens, it runs once more.

Refuses to decide (the plan does) and to wait for anything but the fleet. A forward is desired state: nothing restarts
because something happened; the plan changes, or it does not.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import trio
from msgspec.structs import replace

from forwarders.fleet import Fleet
from forwarders.spec import State, Status
from forwarders.tasks import cause_of, contained, report
from watcher.board.addresses import BindWarnings
from watcher.board.board import Board
from watcher.board.readiness import Prospects
from watcher.board.records import (
    ExplainRecord,
    PlanRecord,
    explain_record,
    forward_record,
    published_record,
    skip_record,
    timestamp,
)
from watcher.cluster.store import Watch
from watcher.config.entries import DEFAULT_ADDRESS
from watcher.plan.facts import Facts
from watcher.plan.plan import Plan, explain, make_plan
from watcher.plan.required_watches import is_settled, required_watches
from watcher.plan.verdicts import PlannedForward, Published, Skip
from watcher.reconcile import Change, Start, Stop, Update, diff

if TYPE_CHECKING:
    from watcher.gateway import GatewayNames

logger = logging.getLogger("portside.loop")

# Seconds: for how long after a question everything of the run is watched, for the next one, and how long the first
# waits for that to be listed, which is less than who asks has patience (cli.running.TIMEOUT).
CURIOUS, LISTED_WITHIN = 60.0, 3.0


class Loop:
    """`gather` gives the facts as they are now; `want` is told which watches they need, `names` the plan's forwards."""

    def __init__(
        self,
        gather: Callable[[], Facts],
        want: Callable[[frozenset[Watch]], None],
        board: Board,
        names: GatewayNames | None = None,
    ) -> None:
        self._gather = gather
        self._want = want
        self._board = board
        self._names = names
        self._wanted: dict[str, PlannedForward] = {}  # what the fleet was told to run; how it does is on the board
        self._stated: dict[str, Skip | Published] = {}  # the plan's other verdicts, as the board was told
        self._dirty = trio.Event()
        self._stands_on = Facts()
        self._plan = Plan()
        self._bind_warnings = BindWarnings()
        self._curious_until = -math.inf
        self._listed = False  # all that the plan's facts call for
        self._planned = trio.Event()
        self._planning_failed = ""  # the bug that keeps the last plan from being replaced
        self._complete = False
        self._prospects = Prospects()
        self._renamed: set[str] = set()  # forwards whose name at the gateway is to be shown

    def touch(self) -> None:
        """Something changed: plan once more. Any number of changes until then cost one plan."""
        self._dirty.set()

    def report(self, status: Status) -> None:
        """Hand one forward's new status to the board."""
        wanted = self._wanted.get(status.id)
        if status.state is State.READY:
            self._prospects.worked(status.id)
        if wanted is not None:
            gateway = self._names.url(status.id) if self._names else ""
            self._board.publish(forward_record(wanted, status, datetime.now(UTC), gateway))

    async def explained(self) -> list[ExplainRecord]:
        """Every verdict of the plan that stands now, on what no mode asks for too: that is listed first, if it can be.

        Needs `run` to run.
        """
        self._curious_until = trio.current_time() + CURIOUS
        if not self._stands_on.explain_requested:
            self.touch()
        with trio.move_on_after(LISTED_WITHIN):
            while not (self._stands_on.explain_requested and self._listed):
                await self._planned.wait()
        failed = {r.id: r.reason for r in self._board.forwards.values() if r.state == State.FAILED.value}
        return [explain_record(explanation) for explanation in explain(self._plan, self._stands_on, failed)]

    @property
    def hopeless(self) -> bool:
        """Whether something was asked for and none of it can ever work. Each record on the board may change it."""
        return self._prospects.none_left(self._plan, self._board.forwards, settled=self._complete)

    async def run(self, fleet: Fleet) -> None:
        """Plans and reconciles until cancelled."""
        while True:
            with trio.move_on_at(self._curious_until if self._stands_on.explain_requested else math.inf):
                await self._dirty.wait()
            await self.plan_once(fleet)

    async def plan_once(self, fleet: Fleet) -> None:
        """One turn: returns when what the plan changes has been changed. Without a new plan the last one stays."""
        self._dirty = trio.Event()
        if self._replan(fleet.ports):
            with contained(logger, "carrying out the plan"):
                await self._apply(self._plan, fleet)
            with contained(logger, "showing the plan"):
                self._show(self._plan)
        self._planned.set()
        self._planned = trio.Event()

    def _replan(self, holding: Mapping[str, int]) -> bool:
        """Whether there is a plan of what is known now. A bug is reported once, and the next change tries again."""
        try:
            self._plan_facts(holding)
        except Exception as error:  # noqa: BLE001 - facts come from outside; forwards must not end with a bug
            if cause_of(error) != self._planning_failed:
                report(logger, "planning failed by a bug of portside's, what is forwarded stays as it is", error)
            self._planning_failed = cause_of(error)
            return False
        self._planning_failed = ""
        return True

    def _plan_facts(self, holding: Mapping[str, int]) -> None:
        gathered = self._gather()
        facts = replace(gathered, explain_requested=trio.current_time() < self._curious_until, holding=holding)
        needed = required_watches(facts)
        self._want(needed)
        self._plan, self._stands_on = make_plan(facts), facts
        self._listed = is_settled(facts, needed)
        # What is looked at out of curiosity keeps nobody waiting.
        self._complete = facts.deployed and (self._listed or is_settled(gathered, required_watches(gathered)))

    def _show(self, plan: Plan) -> None:
        """All of the plan but its forwards, whose states the fleet reports."""
        self._prospects.planned(plan, settled=self._complete)
        renamed, self._renamed = self._renamed, set()
        self._rename(renamed)
        self._publish_verdicts(plan)
        if self._complete != self._board.settled or not self._board.planned:
            self._board.publish(PlanRecord(time=timestamp(datetime.now(UTC)), settled=self._complete))

    async def _apply(self, plan: Plan, fleet: Fleet) -> None:
        with contained(logger, "naming forwards"):
            self._bind_warnings.warn(plan)
            self._renamed |= self._names.update(plan.forwards) if self._names else set()
        changes = diff(self._wanted, plan, fleet.ports)
        fleet.reserve([wanted.spec for wanted in plan.forwards])
        for change in changes:
            ident = change.id if isinstance(change, Stop) else change.forward.id
            undo = partial(self._unchanged, ident, self._wanted.get(ident))
            with contained(logger, f"a change of {self._title(change)}", undo):
                await self._carry_out(change, fleet)

    def _title(self, change: Change) -> str:
        wanted = self._wanted.get(change.id) if isinstance(change, Stop) else change.forward
        return title(wanted) if wanted else "a forward"

    def _unchanged(self, ident: str, before: PlannedForward | None, cause: str) -> None:  # noqa: ARG002 - it is in the log
        """A bug kept the fleet from it: the next plan tries again."""
        if before is None:
            self._wanted.pop(ident, None)
            self._board.publish_end(ident, timestamp(datetime.now(UTC)))
        else:
            self._wanted[ident] = before

    async def _carry_out(self, change: Change, fleet: Fleet) -> None:
        match change:
            case Stop(ident):
                await fleet.stop(ident)
                del self._wanted[ident]
                self._board.publish_end(
                    ident, timestamp(datetime.now(UTC))
                )  # where the forward itself did not report it
            case Start(wanted):
                self._wanted[wanted.id] = wanted
                self.report(Status(id=wanted.id, state=State.WAITING))
                spec = replace(wanted.spec, title=title(wanted))
                await fleet.start(spec, wanted.endpoints, wanted.waiting_for, wanted.broken)
            case Update(wanted):
                self._wanted[wanted.id] = wanted
                fleet.update(wanted.id, wanted.endpoints, wanted.waiting_for, wanted.broken)

    def _rename(self, idents: set[str]) -> None:
        now = timestamp(datetime.now(UTC))
        for ident in idents & self._wanted.keys() & self._board.forwards.keys():
            record, gateway = self._board.forwards[ident], self._names.url(ident) if self._names else ""
            self._board.publish(replace(record, time=now, gateway=gateway))

    def _publish_verdicts(self, plan: Plan) -> None:
        """What is not forwarded, and what Docker forwards."""
        verdicts: tuple[Skip | Published, ...] = (*plan.published, *plan.skips)
        stated, now = {one.id: one for one in verdicts}, datetime.now(UTC)
        for ident in self._stated.keys() - stated.keys():
            if ident not in self._wanted:
                self._board.publish_end(ident, timestamp(now))
            del self._stated[ident]
        for ident, one in stated.items():
            if self._stated.get(ident) != one:
                self._board.publish_if_changed(
                    published_record(one, now) if isinstance(one, Published) else skip_record(one, now)
                )
                self._stated[ident] = one


def title(wanted: PlannedForward) -> str:
    """What people call a forward."""
    subject, address = wanted.subject, wanted.spec.address
    where = f" in namespace {subject.namespace}" if subject.namespace else ""
    at = "" if address == DEFAULT_ADDRESS else f" at {address}"
    return f"{subject.resource_type}/{subject.resource_name} port {subject.remote_port}{where}{at}"
