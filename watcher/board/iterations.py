"""Decides when the last save is deployed, from what Skaffold reports. Pure: the caller passes the time.

Skaffold notices a save up to about 1.5 s later (it collects changes for 1 s), and a save during a dev loop only after
that loop. So an iteration that begins after the question includes the save. If none begins for a while after the
question, or after the loop that was running then, Skaffold has nothing more to deploy.
"""

from __future__ import annotations

import math

from msgspec import Struct

from watcher.board.records import SkaffoldRecord


class IterationState(Struct, frozen=True):
    """`pending`: what is waited for, "" once the iteration is over. `error`: why it failed, "" if it succeeded.

    `until`: when `pending` ends without any event. `noticed`: an iteration has begun since the question.
    """

    pending: str = ""
    error: str = ""
    until: float = math.inf
    noticed: bool = True


class SavedIteration:
    """Follows one Skaffold after a question. Call `state` after each of its records, and at the time it returned."""

    def __init__(self, notice_within: float) -> None:
        self._notice_within = notice_within
        self._first: SkaffoldRecord | None = None  # the first one that is attached
        self._lost = False  # since then
        self._noticed = False
        self._idle_since = math.inf

    def state(self, record: SkaffoldRecord | None, now: float) -> IterationState:
        """`record`: the newest of this Skaffold, None before there is one."""
        if record is None or not record.attached:
            return self._without_skaffold(record)
        first = self._first = self._first or record
        # Another Skaffold began after the question. A reload, which has a new run id too, is noticed by its iteration.
        restarted = self._lost and record.run_id != first.run_id
        self._noticed = self._noticed or restarted or record.iteration != first.iteration
        if record.phase != "idle":
            self._idle_since = math.inf
            return IterationState(f"Skaffold is {record.phase or 'starting'}, iteration {record.iteration}")
        self._idle_since = min(self._idle_since, now)
        until = self._idle_since + self._notice_within
        if not self._noticed and now < until:
            return IterationState("Skaffold has not noticed a change", until=until, noticed=False)
        failure = f"Skaffold's iteration {record.iteration} failed: {record.error or 'see its output'}"
        return IterationState(error=failure if record.failed else "", noticed=self._noticed)

    def _without_skaffold(self, record: SkaffoldRecord | None) -> IterationState:
        self._lost, self._idle_since = self._first is not None, math.inf
        if self._lost and record is not None and record.failed:
            return IterationState(error=f"Skaffold has ended: {record.error or 'see its output'}")
        return IterationState(record.reason if record and record.reason else "no Skaffold is attached")
