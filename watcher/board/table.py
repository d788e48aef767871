"""Computes the live table: which forwards, in which order, what is selected, and what the keys change.

It reads no clock and no terminal; `screen.py` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace
from rich.text import Text

from forwarders.spec import Counts
from watcher.board.board import Board
from watcher.board.layout import Canvas, about_lines, forwards_table, searched_text, skaffold_line, skips_line
from watcher.board.lines import REPORT_WAIT_AFTER, printable
from watcher.board.records import CountedForward, ForwardRecord, Record, counted

# Seconds for which a stopped forward stays visible.
LEAVING = 1.0
# The line of the cursor, which the table does not use.
SPARE = 1
# Rows that page up and page down move.
PAGE = 10
# Seconds for which a message stays.
MESSAGE = 4.0

# Letters that move as in less and vi. They are letters while a filter is typed.
LETTERS = {"k": "up", "j": "down", "g": "home", "G": "end"}

HELP = (
    "/  show only rows that contain a text (Enter keeps it, Esc ends it)",
    "↑ ↓  select a row (also k and j; PgUp, PgDn, Home, End); the table scrolls",
    "o  open its URL in the browser",
    "y  copy its URL (OSC 52; the terminal must allow it)",
    "r  try a failed forward again",
    "l  the last log lines of its pod",
    "Esc  select nothing, show all rows",
    "Ctrl-C  end portside",
)
HINT = "? for keys"

Act = Literal["open", "copy", "retry", "log"]
ACTS: Mapping[str, Act] = {"o": "open", "y": "copy", "r": "retry", "l": "log"}


class TableAction(Struct, frozen=True):
    """What a key asks the screen to do with a forward."""

    act: Act
    record: ForwardRecord


class ShownForward(Struct, frozen=True):
    """A forward's last record; `since`: when its state began; `until`: when to remove it. In trio's seconds."""

    record: ForwardRecord
    since: float
    until: float = math.inf

    def is_waiting(self, now: float) -> bool:
        """Whether it has waited long enough to be reported."""
        return self.record.waits and now >= self.since + REPORT_WAIT_AFTER

    def rank(self, now: float) -> int:
        """Its group in the table: failed, waiting, all others."""
        return 0 if self.record.state == "failed" else 1 if self.is_waiting(now) else 2

    def row(self, counts: Counts | None, now: float) -> CountedForward:
        """Its row in the table: with its counters, and a note once it has waited long enough."""
        record = counted(self.record, counts)
        is_early = record.waits and not self.is_waiting(now)
        return replace(record, reason="", last_error="") if is_early else record


class TableView:
    """The live table's content: takes every change (`take`) and key (`press`), and makes the lines of a `frame`.

    `keys`: whether there are keys; without them nothing can be selected, and what does not fit is only counted.
    """

    def __init__(self, board: Board, *, keys: bool = False) -> None:
        self._board = board
        self._keys = keys
        self._shown: dict[str, ShownForward] = {}
        self._filter = ""
        self._is_typing = False
        self._selected = ""
        self._top = 0  # the first visible row
        self._visible: list[ForwardRecord] = []
        self._overlay: tuple[str, ...] = ()
        self._message, self._message_until = "", -math.inf

    def take(self, records: Iterable[Record], now: float) -> None:
        for record in records:
            if isinstance(record, ForwardRecord):
                self._shown[record.id] = self._next(record, now)

    def next_due(self, now: float) -> float:
        """When the table changes without a new record or key."""
        moments = [moment for one in self._shown.values() for moment in (one.until, one.since + REPORT_WAIT_AFTER)]
        return min((moment for moment in (*moments, self._message_until) if moment > now), default=math.inf)

    def show(self, lines: Sequence[str]) -> None:
        """Show these lines instead of the forwards until the next key."""
        self._overlay = tuple(lines)

    def say(self, message: str, now: float) -> None:
        """Show a message below the table for some seconds."""
        self._message, self._message_until = message, now + MESSAGE

    def reset(self) -> None:
        """Show all forwards, without selection, message and hint: for the last frame."""
        self._keys = self._is_typing = False
        self._filter = self._selected = self._message = ""
        self._overlay = ()

    # Keys

    def press(self, key: str, now: float) -> TableAction | None:
        """Handle a key (a character, or a name of `decode_keys`); returns what the screen is to do, if anything."""
        if self._overlay:
            self._overlay = ()
        elif self._is_typing:
            self._type(key)
        elif key == "/":
            self._is_typing, self._filter = True, ""
        elif key == "?":
            self.show(HELP)
        elif key == "escape":
            self._filter = self._selected = ""
        elif key in ACTS:
            return self._action(ACTS[key], now)
        else:
            self._move(LETTERS.get(key, key))
        return None

    def _type(self, key: str) -> None:
        if key in {"enter", "escape"}:
            self._is_typing = False
            self._filter = self._filter if key == "enter" else ""
        elif key == "backspace":
            self._filter = self._filter[:-1]
        elif len(key) == 1 and key.isprintable():
            self._filter += key

    def _move(self, key: str) -> None:
        idents = [record.id for record in self._visible]
        if not idents:
            return
        at = idents.index(self._selected) if self._selected in idents else -1
        moves = {
            "up": at - 1,
            "down": at + 1,
            "pageup": at - PAGE,
            "pagedown": at + PAGE,
            "home": 0,
            "end": len(idents),
        }
        if key in moves:
            self._selected = idents[min(max(moves[key], 0), len(idents) - 1)]

    def _action(self, act: Act, now: float) -> TableAction | None:
        chosen = [record for record in self._visible if record.id == self._selected]
        if not chosen and len(self._visible) == 1:
            chosen = self._visible
        if not chosen:
            self.say("select a forward first, with ↑ and ↓", now)
            return None
        return TableAction(act, chosen[0])

    # Frames

    def frame(self, canvas: Canvas, height: int, now: float) -> list[str]:
        """Make at most `height` lines: this portside, Skaffold's phase, the forwards, what is not forwarded."""
        self._shown = {ident: one for ident, one in self._shown.items() if one.until > now}
        above: list[Text] = []
        if self._board.about is not None:
            above += about_lines(self._board.about, canvas.width, HINT if self._keys else "")
        if (skaffold := self._board.skaffold) is not None:
            above.append(skaffold_line(skaffold))
        below = self._below(now)
        room = max(height - SPARE - len(above) - len(below), 1)
        lines = [*above, *self._middle(canvas.width, room, now), *below]
        return canvas.lines(*lines)[: max(height - SPARE, 1)]

    def _below(self, now: float) -> list[Text]:
        lines: list[Text] = []
        if self._is_typing or self._filter:
            lines.append(Text(f"filter: {printable(self._filter)}{'_' if self._is_typing else ''}", style="bold"))
        if self._message and now < self._message_until:
            lines.append(Text(printable(self._message), style="bold"))
        if skips := skips_line(self._board.skips.values()):
            lines.append(skips)
        return lines

    def _middle(self, width: int, room: int, now: float) -> list[Text]:
        if self._overlay:
            return [Text(printable(line)) for line in self._overlay[-room:]]
        listed = self._listed(now)
        self._visible = records = [one.record for one in listed]
        if not listed:
            return [Text("nothing matches" if self._filter and self._shown else "nothing is forwarded", style="dim")]
        room -= 1  # the heading
        at = next((index for index, record in enumerate(records) if record.id == self._selected), 0)
        self._top = max(min(self._top, at, max(len(listed) - room + 1, 0)), at - room + 1)
        if len(listed) <= room:
            self._top = 0
        # Only rows that may be visible are laid out: that of thousands would hold up the forwards.
        counters, top = self._board.counters(), self._top
        rows = [one.row(counters.get(one.record.id), now) for one in listed[top : top + max(room, 1)]]
        heading, *table = forwards_table(rows, width, self._selected, records)
        sizes = [len(lines) for lines in table]
        if len(rows) == len(listed) and sum(sizes) <= room:
            return [*heading, *chain.from_iterable(table)]
        first, last = _window(sizes, at - top, room - 1)
        self._top += first
        position = f"{self._top + 1}-{top + last} of {len(listed)}"
        rest = f"and {len(listed) - (last - first)} more: portside status shows all"
        lines = chain.from_iterable(table[first:last])
        return [*heading, *lines, Text(position if self._keys else rest, style="dim")]

    def _next(self, record: ForwardRecord, now: float) -> ShownForward:
        before = self._shown.get(record.id)
        if record.state == "stopped":
            if before is not None:  # its last address is worth showing; after a failure, the reason is
                record = before.record if before.record.state == "failed" else replace(before.record, state="stopped")
            return ShownForward(record, now, now + LEAVING)
        since = before.since if before and before.record.state == record.state else now
        return ShownForward(record, since)

    def _listed(self, now: float) -> list[ShownForward]:
        """The forwards that match the filter; those that failed or wait come first."""
        wanted = self._filter.lower()
        listed = [one for one in self._shown.values() if not wanted or wanted in searched_text(one.record).lower()]
        return sorted(listed, key=lambda one: one.rank(now))


def _window(sizes: Sequence[int], at: int, room: int) -> tuple[int, int]:
    """The range of rows that fit into `room` lines and contain row `at`: the first, and the one after the last."""
    first = 0
    while first < at and sum(sizes[first : at + 1]) > room:
        first += 1
    last = first
    while last < len(sizes) and sum(sizes[first : last + 1]) <= room:
        last += 1
    return first, last
