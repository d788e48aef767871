"""Judges whether anything that `portside forward` was asked for can still work, or whether it is time to give up.

What has worked once, or whose target was once there as asked for, is waited for: an object that is deleted may be made
again. What has never been right does not become right by waiting: no such object or port, UDP, no permission, a local
port that is taken.
"""

from __future__ import annotations

from collections.abc import Mapping

from forwarders.spec import State
from watcher.board.records import ForwardRecord
from watcher.plan.plan import Plan, PlannedForward


class Prospects:
    """Remembers what has worked and whose target was found, by id."""

    def __init__(self) -> None:
        self._worked: set[str] = set()
        self._found: set[str] = set()

    def worked(self, ident: str) -> None:
        """This forward is ready."""
        self._worked.add(ident)

    def planned(self, plan: Plan, *, settled: bool) -> None:
        """`settled`: the plan stands on complete lists."""
        asked = {*(wanted.id for wanted in plan.forwards), *(skip.id for skip in plan.skips)}
        self._worked &= asked
        self._found &= asked
        if settled:
            self._found |= {wanted.id for wanted in plan.forwards if not wanted.broken}

    def none_left(self, plan: Plan, forwards: Mapping[str, ForwardRecord], *, settled: bool) -> bool:
        """Whether something was asked for and none of it can ever work."""
        skips = settled and all(skip.id not in self._worked | self._found for skip in plan.skips)
        asked = bool(plan.forwards or plan.skips)
        return (
            asked
            and not plan.published
            and (skips or not plan.skips)
            and all(self._is_hopeless(wanted, forwards.get(wanted.id), settled=settled) for wanted in plan.forwards)
        )

    def _is_hopeless(self, wanted: PlannedForward, record: ForwardRecord | None, *, settled: bool) -> bool:
        if record is None or record.state != State.FAILED.value or wanted.id in self._worked:
            return False
        if not record.local_port:
            return True  # the port is taken, and a port is bound once
        return settled and not (wanted.broken and wanted.id in self._found)
