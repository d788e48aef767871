"""Remembers the last changes of the board: of everything, and of each forward."""

from __future__ import annotations

from collections import deque

from watcher.board.records import ForwardRecord, PlanRecord, Record, SkipRecord

# Changes to keep overall, for one forward or skip, and the number of those with a history of their own. A history is
# for people, who look at the last minutes.
OVERALL, FOR_EACH, REMEMBERED = 200, 20, 1000


class History:
    """`add` every change; `last` gives them back, the newest first."""

    def __init__(self) -> None:
        self._overall: deque[Record] = deque(maxlen=OVERALL)
        self._for_each: dict[str, deque[Record]] = {}

    def add(self, record: Record) -> None:
        if isinstance(record, PlanRecord):
            return
        self._overall.appendleft(record)
        if isinstance(record, ForwardRecord | SkipRecord):
            # Re-inserted at the end, so that the first one is the one whose last change is the oldest.
            changes = self._for_each.pop(record.id, None) or deque(maxlen=FOR_EACH)
            changes.appendleft(record)
            self._for_each[record.id] = changes
            if len(self._for_each) > REMEMBERED:
                del self._for_each[next(iter(self._for_each))]

    def last(self, ident: str = "") -> list[Record]:
        """The last changes of this forward or skip, "" for everything."""
        return list(self._for_each.get(ident, ()) if ident else self._overall)
