"""Chooses the outputs of a forwarding command: lines or a table on stdout, the env file, the command of --exec.

Each reads the board at its own pace.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import trio

from forwarders.system.terminals import CAN_DRAW, in_foreground
from forwarders.tasks import kept
from watcher.board.board import Board
from watcher.board.environment import EnvFile, Variables
from watcher.board.lines import JsonLines, LineRenderer, PlainLines, write_first_line, write_lines
from watcher.board.runtime import About
from watcher.cli import logs
from watcher.cli.options import Options
from watcher.cli.user_command import UserCommand
from watcher.errors import UsageError

if TYPE_CHECKING:
    from watcher.board.screen import Screen

logger = logging.getLogger("portside.board")

# Seconds that what shows forwards waits for them at the start: an import, also one in a thread, keeps the interpreter
# from whoever opens them for 5 ms at a time (sys.getswitchinterval).
FORWARDS_FIRST = 0.3


class Outputs:
    """`context`: the default kube-context. Raises UsageError for what cannot be written."""

    def __init__(self, command: str, options: Options, context: str) -> None:
        # One for both: the same forward has the same names in the file and in the command.
        variables = Variables(os.environ, context)
        self.user_command = UserCommand.of(options, variables)
        self._json = options.output == "json"
        self._renderer: LineRenderer = JsonLines() if self._json else PlainLines(context)
        self._table = _has_table(command, options)
        self._env_file = EnvFile(options.env_file, variables) if options.env_file else None

    async def run(self, board: Board) -> None:
        """Until the board closes."""
        async with trio.open_nursery() as nursery:
            if self._env_file is not None:
                nursery.start_soon(kept, logger, "writing --env-file", partial(self._env_file.run, board))
            if self._table:
                nursery.start_soon(kept, logger, "drawing the table", partial(_show_table, board))
            else:
                write = partial(write_lines, board, self._renderer, sys.stdout.fileno())
                nursery.start_soon(kept, logger, "printing lines", write)
            if self._json and board.about is not None:
                nursery.start_soon(kept, logger, "the first line", partial(_introduce, board.about))


def _has_table(command: str, options: Options) -> bool:
    """On a terminal that is ours alone; asked for anywhere else it is a mistake. Raises UsageError."""
    hindrance = ""
    if command == "run":
        hindrance = "under run Skaffold has the terminal"
    elif options.exec_command:
        hindrance = "with --exec the command has the terminal"
    elif not sys.stdout.isatty():
        hindrance = "stdout is none"
    elif not CAN_DRAW:
        hindrance = "portside draws none on Windows"
    elif os.environ.get("TERM", "dumb") == "dumb":
        hindrance = "this one cannot move its cursor (TERM)"
    elif not in_foreground(sys.stdout.fileno()):
        hindrance = "another program has it, since this one was started in the background"
    if options.output == "table" and hindrance:
        raise UsageError(f"--output table needs a terminal of its own: {hindrance}; use plain")
    return options.output in {"auto", "table"} and not hindrance


async def _introduce(about: About) -> None:
    """On stderr: stdout is for JSON alone."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it may be closed
        await write_first_line(about, sys.stderr.fileno())


async def _show_table(board: Board) -> None:
    await board.until_ready(FORWARDS_FIRST)
    screen = await trio.to_thread.run_sync(_screen)
    table = screen(board, sys.stdout.fileno(), colour=not os.environ.get("NO_COLOR"))
    with logs.diverted(table.print_above) if sys.stderr.isatty() else contextlib.nullcontext():
        await table.run()


def _screen() -> type[Screen]:
    from watcher.board.screen import Screen

    return Screen
