"""The one loop: facts → plan → changes → forwards. It runs again after every change of the facts.

It decides nothing (`watcher.plan` does) and waits for nothing but the fleet. Forwards are desired state: nothing
restarts because of an event; either the plan changes, or nothing does.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import trio
from msgspec import Struct
from msgspec.structs import replace

from forwarders.fleet import Fleet
from forwarders.spec import State, Status
from forwarders.tasks import Notifier, cause_of, contained, report
from watcher.board.addresses import warn_beyond_loopback
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
from watcher.plan.plan import Plan, explain, plan_in_steps
from watcher.plan.required_watches import is_settled, required_watches
from watcher.plan.verdicts import PlannedForward, Published, Skip
from watcher.reconcile import Change, Start, Stop, Update, diff

if TYPE_CHECKING:
    from watcher.gateway_names import GatewayNames

logger = logging.getLogger("portside.loop")

# Seconds. For so long after a request for explanations everything of the run stays watched, for the next request. The
# first one waits so long for the lists, which is less than its client waits (cli.instances.TIMEOUT).
EXPLAIN_FOR, LISTED_WITHIN = 60.0, 3.0
# Seconds. Planning and carrying out a plan let other tasks run after each slice. A plan that took longer than _FREE is
# followed by a pause of three times the rest, so planning takes a quarter of the time at most.
_SLICE, _FREE, _MOST_PAUSE = 0.005, 0.01, 0.5


class _Planned(Struct, frozen=True):
    """A plan and its facts. `listed`: every list that the facts need has ended. `settled`: nothing is on its way."""

    facts: Facts = Facts()
    plan: Plan = Plan()
    listed: bool = False
    settled: bool = False


class Loop:
    """Plans and carries plans out. `gather`: the current facts; `want`: takes their watches; `names`: the gateway's."""

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
        self._running: dict[str, PlannedForward] = {}  # as the fleet was told; their state is on the board
        self._stated: dict[str, Skip | Published] = {}  # as the board was told
        self._dirty = trio.Event()
        self._now = _Planned()
        self._outdated = False  # `unsettle` was called since the facts were gathered
        self._has_planned = Notifier()
        self._planning_failed = ""  # the bug that prevents a new plan
        self._explain_until = -math.inf
        self._warned: set[str] = set()  # addresses
        self._prospects = Prospects()
        self._retries: set[str] = set()  # ids
        self._renamed: set[str] = set()  # forwards whose new URL at the gateway is not on the board yet

    def touch(self) -> None:
        """Plan soon, because the facts changed. Any number of changes until the next plan cost one plan."""
        self._dirty.set()

    def unsettle(self) -> None:
        """Note at once that a deploy has outdated the lists: whoever reads of the deploy has read of that before."""
        self._outdated = True  # also a plan that is being made
        self._now = replace(self._now, settled=False)
        if self._board.settled:
            self._board.publish(PlanRecord(time=timestamp(datetime.now(UTC)), settled=False))
        self.touch()

    def report(self, status: Status) -> None:
        """Publishes the new status of one forward on the board."""
        planned = self._running.get(status.id)
        if status.state is State.READY:
            self._prospects.worked(status.id)
        if planned is not None:
            self._board.publish(forward_record(planned, status, datetime.now(UTC), self._url(status.id)))

    async def explained(self) -> list[ExplainRecord]:
        """Every verdict of the current plan, also on objects that no mode requests: first it waits for their lists.

        `run` must be running.
        """
        self._explain_until = trio.current_time() + EXPLAIN_FOR
        if not self._now.facts.explain_requested:
            self.touch()
        with trio.move_on_after(LISTED_WITHIN):
            while not (self._now.facts.explain_requested and self._now.listed):
                await self._has_planned.wait()
        failed = {r.id: r.reason for r in self._board.forwards.values() if r.state == State.FAILED.value}
        via = {record.id: record.via for record in self._board.forwards.values()}
        return [
            explain_record(one, next((via[ident] for ident in one.forwards if ident in via), ""))
            for one in explain(self._now.plan, self._now.facts, failed)
        ]

    def retry(self, ident: str) -> str:
        """Bind a forward again that could not be bound. Returns why not, "" if it is tried now."""
        record = self._board.forwards.get(ident)
        if record is None:
            return "there is no such forward"
        if record.state != State.FAILED.value or record.local_port or ident not in self._running:
            return f"it is {record.state}; portside tries again by itself when something changes"
        self._retries.add(ident)
        self.touch()
        return ""

    @property
    def hopeless(self) -> bool:
        """Whether nothing that was requested can ever work. Each new record on the board may change it."""
        return self._prospects.none_left(self._now.plan, self._board.forwards, settled=self._now.settled)

    async def run(self, fleet: Fleet) -> None:
        """Plans and reconciles until cancelled."""
        while True:
            with trio.move_on_at(self._explain_until if self._now.facts.explain_requested else math.inf):
                await self._dirty.wait()
            began = trio.current_time()
            await self.plan_once(fleet)
            took = trio.current_time() - began
            await trio.sleep(min(3 * max(took - _FREE, 0.0), _MOST_PAUSE))

    async def plan_once(self, fleet: Fleet) -> None:
        """Makes a plan and carries it out. If planning fails, the last plan stays."""
        self._dirty = trio.Event()
        if await self._replan(fleet.ports):
            with contained(logger, "carrying out the plan"):
                await self._apply(self._now.plan, fleet)
            with contained(logger, "showing the plan"):
                await self._show(self._now.plan)
        self._has_planned.fire()

    async def _replan(self, holding: Mapping[str, int]) -> bool:
        """Makes a plan; returns whether there is a new one. A bug is logged once, and the next change tries again."""
        try:
            self._now = await self._plan(holding)
        except Exception as error:  # noqa: BLE001 - facts come from outside; forwards must not end with a bug
            if cause_of(error) != self._planning_failed:
                report(logger, "planning failed by a bug of portside's; what is forwarded stays as it is", error)
            self._planning_failed = cause_of(error)
            return False
        self._planning_failed = ""
        return True

    async def _plan(self, holding: Mapping[str, int]) -> _Planned:
        self._outdated = False
        gathered = self._gather()
        facts = replace(gathered, explain_requested=trio.current_time() < self._explain_until, holding=holding)
        needed = required_watches(facts)
        self._want(needed)
        listed = is_settled(facts, needed)
        # Lists that only `explain` needs delay no one who waits for the plan to settle.
        settled = facts.deployed and (listed or is_settled(gathered, required_watches(gathered)))
        steps, slices = plan_in_steps(facts), _Slices()
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                return _Planned(facts, finished.value, listed, settled and not self._outdated)
            await slices.pause_if_due()

    async def _apply(self, plan: Plan, fleet: Fleet) -> None:
        with contained(logger, "naming forwards"):
            warn_beyond_loopback(plan, self._warned)
            self._renamed |= self._names.update(plan.forwards) if self._names else set()
        await self._stop_failed(plan, fleet)
        changes = diff(self._running, plan, fleet.ports)
        fleet.reserve([planned.spec for planned in plan.forwards])
        slices = _Slices()
        for change in changes:
            await slices.pause_if_due()
            forward = self._running[change.id] if isinstance(change, Stop) else change.forward
            undo = partial(self._undo, forward.id, self._running.get(forward.id))
            with contained(logger, f"a change of {title(forward)}", undo):
                await self._carry_out(change, fleet)

    async def _stop_failed(self, plan: Plan, fleet: Fleet) -> None:
        """Stops the forwards to retry. They are still planned, so `diff` starts them again."""
        retries, self._retries = self._retries, set()
        for ident in retries & self._running.keys() & {planned.id for planned in plan.forwards}:
            del self._running[ident]  # before it stops: its end is not reported, since it continues
            await fleet.stop(ident)

    def _undo(self, ident: str, before: PlannedForward | None, cause: str) -> None:  # noqa: ARG002 - it is in the log
        """Notes that this change was not made, after a bug in the fleet: the next plan tries it again."""
        if before is None:
            self._running.pop(ident, None)
            self._board.publish_end(ident, timestamp(datetime.now(UTC)))
        else:
            self._running[ident] = before

    async def _carry_out(self, change: Change, fleet: Fleet) -> None:
        match change:
            case Stop(ident):
                await fleet.stop(ident)
                del self._running[ident]
                # The forward itself reports its end unless it never started.
                self._board.publish_end(ident, timestamp(datetime.now(UTC)))
            case Start(forward):
                self._running[forward.id] = forward
                self.report(Status(id=forward.id, state=State.WAITING))
                spec = replace(forward.spec, title=title(forward))
                await fleet.start(spec, forward.endpoints, forward.waiting_for, forward.broken)
            case Update(forward):
                self._running[forward.id] = forward
                fleet.update(forward.id, forward.endpoints, forward.waiting_for, forward.broken)

    async def _show(self, plan: Plan) -> None:
        """Publishes everything but the states of forwards, which the fleet reports."""
        settled = self._now.settled
        self._prospects.planned(plan, settled=settled)
        now = datetime.now(UTC)
        renamed, self._renamed = self._renamed, set()
        for ident in renamed & self._running.keys() & self._board.forwards.keys():
            record = self._board.forwards[ident]
            self._board.publish(replace(record, time=timestamp(now), gateway=self._url(ident)))
        await self._show_verdicts((*plan.published, *plan.skips), now)
        if settled != self._board.settled or not self._board.planned:
            self._board.publish(PlanRecord(time=timestamp(now), settled=settled))

    async def _show_verdicts(self, verdicts: Iterable[Skip | Published], now: datetime) -> None:
        stated = {one.id: one for one in verdicts}
        for ident in self._stated.keys() - stated.keys():
            if ident not in self._running:
                self._board.publish_end(ident, timestamp(now))
            del self._stated[ident]
        slices = _Slices()
        for ident, one in stated.items():
            await slices.pause_if_due()
            if self._stated.get(ident) != one:
                record = published_record(one, now) if isinstance(one, Published) else skip_record(one, now)
                self._board.publish_if_changed(record)
                self._stated[ident] = one

    def _url(self, ident: str) -> str:
        return self._names.url(ident) if self._names else ""


class _Slices:
    """Divides long work into slices, between which other tasks run."""

    def __init__(self) -> None:
        self._began = trio.current_time()

    async def pause_if_due(self) -> None:
        if trio.current_time() - self._began > _SLICE:
            await trio.lowlevel.checkpoint()
            self._began = trio.current_time()


def title(planned: PlannedForward) -> str:
    """The name of a forward in log lines."""
    subject, address = planned.subject, planned.spec.address
    where = f" in namespace {subject.namespace}" if subject.namespace else ""
    at = "" if address == DEFAULT_ADDRESS else f" at {address}"
    return f"{subject.resource_type}/{subject.resource_name} port {subject.remote_port}{where}{at}"
