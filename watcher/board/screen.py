"""Draws the live table on a terminal, directly above the cursor, and reads the keys that are pressed there.

The cursor is never hidden and no alternate screen is used, so even a kill leaves the terminal usable; only the echo of
keys stays off, and shells turn that on again. A slow terminal gets fewer frames; it never slows down a forward.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections import deque
from collections.abc import Iterator

import trio

from forwarders.system.terminals import CONTINUED, RESIZED, in_foreground, set_echo, write_whole
from forwarders.tasks import Notifier, contained
from watcher.board.actions import copy_sequence, last_log_lines, open_in_browser
from watcher.board.board import Board
from watcher.board.changes import Subscription
from watcher.board.layout import Canvas
from watcher.board.table import TableAction, TableView

logger = logging.getLogger("portside.board")

# Seconds between two frames: nobody can read more often. Counters alone are looked at once in this many seconds.
PACE = 0.1
COUNTERS = 1.0
# Lines above the table that wait for a slow terminal, and those that are printed again after a change of size.
MAX_ABOVE = 100
RECENT = 3


_CSI = {
    "A": "up",
    "B": "down",
    "H": "home",
    "F": "end",
    "1~": "home",
    "4~": "end",
    "5~": "pageup",
    "6~": "pagedown",
}
_NAMES = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace"}


def decode_keys(data: bytes) -> Iterator[str]:
    """Characters, or names: up, down, home, end, pageup, pagedown, enter, backspace, escape. Other keys are ignored."""
    text = data.decode(errors="ignore")
    while text:
        if text[:2] in {"\x1b[", "\x1bO"}:
            end = next((at for at in range(2, len(text)) if "@" <= text[at] <= "~"), len(text) - 1)
            if name := _CSI.get(text[2 : end + 1]):
                yield name
            text = text[end + 1 :]
        else:
            key, text = text[0], text[1:]
            if key == "\x1b":
                yield "escape"
            elif key in _NAMES:
                yield _NAMES[key]
            elif key.isprintable():
                yield key


class Keyboard:
    """Reads keys from the terminal `descriptor`. `continued` fires when this process may be in the foreground again."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.continued = Notifier()

    async def next(self) -> list[str]:
        """Wait for the next keys. Raises EOFError when there will be no more."""
        while True:
            await trio.lowlevel.wait_readable(self._descriptor)
            if in_foreground(self._descriptor):
                break
            await self.continued.wait()  # these keys are the shell's; reading them would stop this process
        try:
            data = os.read(self._descriptor, 1024)
        except OSError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        return [*decode_keys(data)]


class Screen:
    """Draws the table of `board` on the terminal `descriptor`. `print_above` may be called from any thread.

    `keyboard`: the descriptor to read keys from, None for a table without keys.
    """

    def __init__(self, board: Board, descriptor: int, *, colour: bool, keyboard: int | None = None) -> None:
        self._board = board
        self._descriptor = descriptor
        self._colour = colour
        self._keyboard = Keyboard(keyboard) if keyboard is not None else None
        self._view = TableView(board, keys=keyboard is not None)
        self._above: deque[str] = deque(maxlen=MAX_ABOVE)
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._drawn: list[str] = []
        self._drawn_for: tuple[int, int] | None = None
        self._changed = trio.Event()
        self._writing = trio.Lock()
        self._over = False
        self._token = trio.lowlevel.current_trio_token()

    def print_above(self, line: str) -> None:
        """Add a line above the table."""
        self._above.append(line)
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._touch)

    async def run(self) -> None:
        """Draw the table until the board closes; the last frame stays."""
        with _echo_off(self._descriptor, lines=self._keyboard is None):
            async with self._board.subscribe() as changes, trio.open_nursery() as nursery:
                if self._keyboard is not None:
                    nursery.start_soon(self._read_keys, self._keyboard, nursery)
                nursery.start_soon(self._take, changes)
                nursery.start_soon(self._watch_terminal)
                while not self._over:
                    await self._until_changed()
                    await self._draw()
                    await trio.sleep(PACE)
                self._view.reset()
                await self._draw()
                nursery.cancel_scope.cancel()

    def _touch(self) -> None:
        self._changed.set()

    async def _until_changed(self) -> None:
        now = trio.current_time()
        with trio.move_on_at(min(self._view.next_due(now), now + COUNTERS)):
            await self._changed.wait()
        self._changed = trio.Event()

    async def _take(self, changes: Subscription) -> None:
        async for records in changes:
            self._view.take(records, trio.current_time())
            self._touch()
        self._over = True
        self._touch()

    async def _watch_terminal(self) -> None:
        """Draw again after a change of size and after a return to the foreground."""
        with trio.open_signal_receiver(RESIZED, CONTINUED) as arrivals:
            async for number in arrivals:
                if number == CONTINUED:
                    self._drawn, self._drawn_for = [], None  # the shell has written below the table meanwhile
                    set_echo(self._descriptor, on=False, lines=self._keyboard is None)
                    if self._keyboard is not None:
                        self._keyboard.continued.fire()
                self._touch()

    async def _read_keys(self, keyboard: Keyboard, nursery: trio.Nursery) -> None:
        with contextlib.suppress(EOFError):
            while True:
                for key in await keyboard.next():
                    if action := self._view.press(key, trio.current_time()):
                        nursery.start_soon(self._act, action)
                self._touch()

    async def _act(self, action: TableAction) -> None:
        with contained(logger, f"key {action.act}"):
            self._view.say(await self._done(action), trio.current_time())
        self._touch()

    async def _done(self, action: TableAction) -> str:
        """Carries the action out; returns the message to show."""
        record, message = action.record, ""
        match action.act:
            case "open" | "copy" if not record.link:
                message = f"{record.resource} has no URL: it is {record.state}"
            case "open":
                message = await open_in_browser(record) or f"opened {record.page}"
            case "copy":
                await self._write(copy_sequence(record.link))
                message = f"copied {record.link}"
            case "retry":
                problem = self._board.retry(record.id)
                message = f"{record.resource}: {problem}" if problem else f"trying {record.resource} again"
            case "log":
                self._view.show(await last_log_lines(self._board, record))
        return message

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
        # Each line is cleared alone: clearing the screen would scroll it into tmux's history.
        text = "".join(f"\x1b[K{line}\n" for line in (*above, *lines))
        await self._write(f"{home}\r{text}\x1b[J".encode())

    async def _write(self, data: bytes) -> None:
        async with self._writing:  # a frame is not torn by another write
            try:
                await trio.to_thread.run_sync(write_whole, self._descriptor, data, abandon_on_cancel=True)
            except OSError:
                self._over = True  # the terminal is gone, and forwarding goes on


def _size(descriptor: int) -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(descriptor)
    except OSError:
        return 80, 24
    return columns or 80, rows or 24


@contextlib.contextmanager
def _echo_off(descriptor: int, *, lines: bool) -> Iterator[None]:
    """Turns the terminal's echo off while the block runs: echoed keys would tear the table."""
    set_echo(descriptor, on=False, lines=lines)
    try:
        yield
    finally:
        set_echo(descriptor, on=True, lines=lines)


def keyboard_of(descriptor: int) -> int | None:
    """The descriptor of stdin if it is the terminal of `descriptor`, else None: then there are no keys."""
    try:
        stdin = sys.stdin.fileno()
        same = os.path.samestat(os.fstat(stdin), os.fstat(descriptor))
    except (OSError, ValueError, AttributeError):  # closed, or replaced
        return None
    return stdin if same and os.isatty(stdin) else None
