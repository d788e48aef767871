"""Draws the live table on a terminal, directly above the cursor.

The cursor is never hidden and no alternate screen is used, so even a kill leaves the terminal usable; only the echo of
keys stays off, and shells turn that on again. A slow terminal gets fewer frames; it never slows down a forward.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import trio
from msgspec import Struct
from msgspec.structs import replace
from rich.console import RenderableType
from rich.text import Text

from forwarders.system.terminals import in_foreground, is_continued, redraw_signals, set_echo, write_whole
from watcher.board.board import Board
from watcher.board.changes import Subscription
from watcher.board.layout import Canvas, TableRow, about_lines, forwards_table, skaffold_line, skips_line
from watcher.board.lines import REPORT_WAIT_AFTER
from watcher.board.records import ForwardRecord, Record, counted

# Seconds for which a stopped forward stays visible.
LEAVING = 1.0
# The line of the cursor, which the table does not use.
SPARE = 1
# Seconds between two frames: nobody can read more often. Counters alone are looked at once in this many seconds.
PACE = 0.1
COUNTERS = 1.0
# Lines above the table that wait for a slow terminal, and those that are printed again after a change of size.
MAX_ABOVE = 100
RECENT = 3


class ShownForward(Struct, frozen=True):
    """A forward's last record; `since`: when its state began; `until`: when to remove it. In trio's seconds."""

    record: ForwardRecord
    since: float
    until: float = math.inf


class TableView:
    """Computes the table. Give it every change (`take`); ask it for a `frame` when there is something new."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._shown: dict[str, ShownForward] = {}

    def take(self, records: Iterable[Record], now: float) -> None:
        for record in records:
            if isinstance(record, ForwardRecord):
                self._shown[record.id] = self._next(record, now)

    def next_due(self, now: float) -> float:
        """When the table changes without a new record."""
        moments = [moment for one in self._shown.values() for moment in (one.until, one.since + REPORT_WAIT_AFTER)]
        return min((moment for moment in moments if moment > now), default=math.inf)

    def frame(self, canvas: Canvas, height: int, now: float) -> list[str]:
        """At most `height` lines: this portside, Skaffold's phase, the forwards, what is not forwarded."""
        self._shown = {ident: one for ident, one in self._shown.items() if one.until > now}
        rows = self._rows(now)
        skaffold, skips = self._board.skaffold, skips_line(self._board.skips.values())
        above: list[RenderableType] = about_lines(self._board.about, canvas.width) if self._board.about else []
        above += [skaffold_line(skaffold)] if skaffold else []
        below: list[RenderableType] = [skips] if skips else []
        room = max(height - SPARE - len(above) - len(below) - 1, 1)  # 1: the heading
        if len(rows) > room:
            rows.sort(key=lambda row: row.record.state in {"ready", "stopped"})  # these are left out first
            rest = len(rows) - room + 1
            below.insert(0, Text(f"and {rest} more: portside status shows all", style="dim"))
            rows = rows[: room - 1]
        table: list[RenderableType] = [forwards_table(rows, canvas.width)] if rows else []
        if not self._shown:
            table.append(Text("nothing is forwarded", style="dim"))
        return canvas.lines(*above, *table, *below)[: max(height - SPARE, 1)]

    def _next(self, record: ForwardRecord, now: float) -> ShownForward:
        before = self._shown.get(record.id)
        if record.state == "stopped":
            if before is not None:  # its last address is worth showing; after a failure, the reason is
                record = before.record if before.record.state == "failed" else replace(before.record, state="stopped")
            return ShownForward(record, now, now + LEAVING)
        since = before.since if before and before.record.state == record.state else now
        return ShownForward(record, since)

    def _rows(self, now: float) -> list[TableRow]:
        counters = self._board.counters()
        rows = []
        for ident, one in self._shown.items():
            record = counted(one.record, counters.get(ident))
            waits = one.record.state in {"waiting", "listening"}
            too_early = waits and now < one.since + REPORT_WAIT_AFTER
            note = "" if too_early else record.reason or record.last_error
            rows.append(TableRow(record, note))
        return rows


class Screen:
    """The table of `board` on the terminal `descriptor`. `print_above` may be called from any thread."""

    def __init__(self, board: Board, descriptor: int, *, colour: bool) -> None:
        self._board = board
        self._descriptor = descriptor
        self._colour = colour
        self._view = TableView(board)
        self._above: deque[str] = deque(maxlen=MAX_ABOVE)
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._drawn: list[str] = []
        self._drawn_for: tuple[int, int] | None = None
        self._changed = trio.Event()
        self._over = False
        self._token = trio.lowlevel.current_trio_token()

    def print_above(self, line: str) -> None:
        """Add a line above the table."""
        self._above.append(line)
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._touch)

    async def run(self) -> None:
        """Draws until the board closes; the last frame stays."""
        subscription = self._board.subscribe()
        try:
            with _echo_off(self._descriptor):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._take, subscription)
                    nursery.start_soon(self._watch_terminal)
                    while not self._over:
                        await self._until_changed()
                        await self._draw()
                        await trio.sleep(PACE)
                    await self._draw()
                    nursery.cancel_scope.cancel()
        finally:
            self._board.unsubscribe(subscription)

    def _touch(self) -> None:
        self._changed.set()

    async def _until_changed(self) -> None:
        now = trio.current_time()
        with trio.move_on_at(min(self._view.next_due(now), now + COUNTERS)):
            await self._changed.wait()
        self._changed = trio.Event()

    async def _take(self, subscription: Subscription) -> None:
        try:
            while True:
                self._view.take(await subscription.next(), trio.current_time())
                self._touch()
        except trio.EndOfChannel:
            self._over = True
            self._touch()

    async def _watch_terminal(self) -> None:
        """Draw again after a change of size and after a return to the foreground."""
        with trio.open_signal_receiver(*redraw_signals()) as arrivals:
            async for number in arrivals:
                if is_continued(number):
                    self._drawn, self._drawn_for = [], None  # the shell has written below the table meanwhile
                    set_echo(self._descriptor, on=False)
                self._touch()

    async def _draw(self) -> None:
        if not in_foreground(self._descriptor):
            return  # another program has the terminal now
        size = _size(self._descriptor)
        width, height = size
        lines = self._view.frame(Canvas(width, self._colour), height, trio.current_time())
        home, above = (f"\x1b[{len(self._drawn)}A" if self._drawn else ""), [*self._above]
        if self._drawn_for not in {None, size}:
            # Each terminal wraps and moves its content differently after a change of size: start at the top again.
            home, above = "\x1b[H", [*self._recent, *self._above]
        elif lines == self._drawn and not above:
            return
        self._recent.extend(self._above)
        self._above.clear()
        self._drawn, self._drawn_for = lines, size
        data = _frame_data(home, [*above, *lines])
        try:
            await trio.to_thread.run_sync(write_whole, self._descriptor, data, abandon_on_cancel=True)
        except OSError:
            self._over = True  # the terminal is gone, and forwarding goes on


def _frame_data(home: str, lines: Sequence[str]) -> bytes:
    """One write, cleared line by line: clearing the whole screen would scroll it into tmux's history."""
    text = "".join(f"\x1b[K{line}\n" for line in lines)
    return f"{home}\r{text}\x1b[J".encode()


def _size(descriptor: int) -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(descriptor)
    except OSError:
        return 80, 24
    return columns or 80, rows or 24


@contextlib.contextmanager
def _echo_off(descriptor: int) -> Iterator[None]:
    """Typed keys would tear the table if the terminal echoed them."""
    set_echo(descriptor, on=False)
    try:
        yield
    finally:
        set_echo(descriptor, on=True)
