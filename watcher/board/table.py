"""Owns the live table: what stands in it at a moment, and how long it may still be true.

Refuses to write anything: `frame` gives lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace
from rich.console import RenderableType
from rich.text import Text

from watcher.board.board import Board
from watcher.board.layout import Paper, Row, about_lines, forwards_table, skaffold_line, skips_line
from watcher.board.lines import WAITING_IS_SAID_AFTER
from watcher.board.records import ForwardRecord, Record, counted

# Seconds for which what has stopped is still shown.
LEAVING = 1.0
# Lines of a screen that the table leaves alone: the one the cursor stands on.
SPARE = 1


class _Seen(Struct, frozen=True):
    """A forward's last record; `since`: when its state came; `until`: when it is to vanish."""

    record: ForwardRecord
    since: float
    until: float = math.inf


class TableView:
    """`take` every change; `frame` as often as there is something new to show. Times are trio's."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._seen: dict[str, _Seen] = {}

    def take(self, records: Iterable[Record], now: float) -> None:
        for record in records:
            if isinstance(record, ForwardRecord):
                self._seen[record.id] = self._next(record, now)

    def next_due(self, now: float) -> float:
        """When the picture changes by time alone."""
        moments = [
            moment for seen in self._seen.values() for moment in (seen.until, seen.since + WAITING_IS_SAID_AFTER)
        ]
        return min((moment for moment in moments if moment > now), default=math.inf)

    def frame(self, paper: Paper, height: int, now: float) -> list[str]:
        """At most `height` lines: which portside this is, Skaffold's phase, the forwards, what is folded."""
        self._seen = {ident: seen for ident, seen in self._seen.items() if seen.until > now}
        rows = self._rows(now)
        skaffold, skips = self._board.skaffold, skips_line(self._board.skips.values())
        above: list[RenderableType] = about_lines(self._board.about, paper.width) if self._board.about else []
        above += [skaffold_line(skaffold)] if skaffold else []
        below: list[RenderableType] = [skips] if skips else []
        room = max(height - SPARE - len(above) - len(below) - 1, 1)  # 1: the heading
        if len(rows) > room:
            rows.sort(key=lambda row: row.record.state in {"ready", "stopped"})  # these are folded first
            rest = len(rows) - room + 1
            below.insert(0, Text(f"and {rest} more: portside status shows all", style="dim"))
            rows = rows[: room - 1]
        table: list[RenderableType] = [forwards_table(rows, paper.width)] if rows else []
        if not self._seen:
            table.append(Text("nothing is forwarded", style="dim"))
        return paper.lines(*above, *table, *below)[: max(height - SPARE, 1)]

    def _next(self, record: ForwardRecord, now: float) -> _Seen:
        before = self._seen.get(record.id)
        if record.state == "stopped":
            if before is not None:  # where it led is worth seeing, and why it never did worth more than that it ended
                record = before.record if before.record.state == "failed" else replace(before.record, state="stopped")
            return _Seen(record, now, now + LEAVING)
        since = before.since if before and before.record.state == record.state else now
        return _Seen(record, since)

    def _rows(self, now: float) -> list[Row]:
        counters = self._board.counters()
        rows = []
        for ident, seen in self._seen.items():
            record = counted(seen.record, counters.get(ident))
            waits = seen.record.state in {"waiting", "listening"}
            too_early = waits and now < seen.since + WAITING_IS_SAID_AFTER
            note = "" if too_early else record.reason or record.last_error
            rows.append(Row(record, note))
        return rows
