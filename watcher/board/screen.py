"""Owns the live table on a terminal: drawn right above the cursor, at its size, on change, and left clean.

Refuses to wait on the data path: a stuck terminal only makes the pictures fewer. The cursor is never hidden and no
second screen is used, so nothing is left behind even by a kill, but for the echo of keys, which shells turn on again.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterator, Sequence

import trio

from forwarders.system.terminals import in_foreground, is_continued, redraw_signals, set_echo, write_whole
from watcher.board.board import Board
from watcher.board.layout import Paper
from watcher.board.subscription import Subscription
from watcher.board.table import TableView

# Seconds between two pictures: more often nobody can read. Counters alone are looked at once in so many.
PACE = 0.1
COUNTERS = 1.0
# Lines above the table that a stuck terminal is still to get, and those that are said again at another size.
MAX_ABOVE = 100
RECENT = 3


class Screen:
    """The table of `board` on the terminal `descriptor`. `say` adds a line above it, from any thread."""

    def __init__(self, board: Board, descriptor: int, *, colour: bool) -> None:
        self._board = board
        self._descriptor = descriptor
        self._colour = colour
        self._view = TableView(board)
        self._above: deque[str] = deque(maxlen=MAX_ABOVE)
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._drawn: list[str] = []
        self._drawn_for: tuple[int, int] | None = None
        self._news = trio.Event()
        self._over = False
        self._token = trio.lowlevel.current_trio_token()

    def say(self, line: str) -> None:
        self._above.append(line)
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._touch)

    async def run(self) -> None:
        """Until the board closes; its last state stays."""
        subscription = self._board.subscribe()
        try:
            with _silent_keys(self._descriptor):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._take, subscription)
                    nursery.start_soon(self._follow_size)
                    while not self._over:
                        await self._until_news()
                        await self._draw()
                        await trio.sleep(PACE)
                    await self._draw()
                    nursery.cancel_scope.cancel()
        finally:
            self._board.unsubscribe(subscription)

    def _touch(self) -> None:
        self._news.set()

    async def _until_news(self) -> None:
        now = trio.current_time()
        with trio.move_on_at(min(self._view.next_due(now), now + COUNTERS)):
            await self._news.wait()
        self._news = trio.Event()

    async def _take(self, subscription: Subscription) -> None:
        try:
            while True:
                self._view.take(await subscription.next(), trio.current_time())
                self._touch()
        except trio.EndOfChannel:
            self._over = True
            self._touch()

    async def _follow_size(self) -> None:
        """Another size, or in the foreground again."""
        with trio.open_signal_receiver(*redraw_signals()) as arrivals:
            async for number in arrivals:
                if is_continued(number):
                    self._drawn, self._drawn_for = [], None  # the shell has written below it meanwhile
                    set_echo(self._descriptor, on=False)
                self._touch()

    async def _draw(self) -> None:
        if not in_foreground(self._descriptor):
            return  # the terminal is somebody else's now
        size = _size(self._descriptor)
        width, height = size
        lines = self._view.frame(Paper(width, self._colour), height, trio.current_time())
        home, above = (f"\x1b[{len(self._drawn)}A" if self._drawn else ""), [*self._above]
        if self._drawn_for not in {None, size}:
            # Every terminal wraps and moves what stands there in its own way: begin again, at the top.
            home, above = "\x1b[H", [*self._recent, *self._above]
        elif lines == self._drawn and not above:
            return
        self._recent.extend(self._above)
        self._above.clear()
        self._drawn, self._drawn_for = lines, size
        picture = _picture(home, [*above, *lines])
        try:
            await trio.to_thread.run_sync(write_whole, self._descriptor, picture, abandon_on_cancel=True)
        except OSError:
            self._over = True  # the terminal is gone, and forwarding goes on


def _picture(home: str, lines: Sequence[str]) -> bytes:
    """In one write, and line by line: whoever clears a whole screen at once has it scroll into tmux's history."""
    text = "".join(f"\x1b[K{line}\n" for line in lines)
    return f"{home}\r{text}\x1b[J".encode()


def _size(descriptor: int) -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(descriptor)
    except OSError:
        return 80, 24
    return columns or 80, rows or 24


@contextlib.contextmanager
def _silent_keys(descriptor: int) -> Iterator[None]:
    """Keys that are typed show nothing, which would tear the table, and do not reach the shell afterwards."""
    set_echo(descriptor, on=False)
    try:
        yield
    finally:
        set_echo(descriptor, on=True)
