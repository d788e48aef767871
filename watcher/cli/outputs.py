"""Owns which outputs a forwarding command has: lines or a table on stdout, the env file, what --exec is given.

Refuses to be waited for: each reads the board at its own pace.
"""

from __future__ import annotations

import sys

import trio

from watcher.board.board import Board
from watcher.board.env_file import EnvFile
from watcher.board.lines import JsonLines, PlainLines, Renderer, write_lines
from watcher.board.variables import Variables
from watcher.cli.options import Options
from watcher.cli.user_command import UserCommand
from watcher.errors import UsageError


class Outputs:
    """Raises UsageError for what cannot be written."""

    def __init__(self, command: str, options: Options) -> None:
        if options.output == "table" and command == "run":
            raise UsageError("--output table needs a terminal of its own, and under run Skaffold has it; use plain")
        variables = Variables()  # one for both: the same forward has the same names in the file and in the command
        self.user_command = UserCommand.of(options, variables)
        self._renderer: Renderer = JsonLines() if options.output == "json" else PlainLines()
        self._env_file = EnvFile(options.env_file, variables) if options.env_file else None

    async def run(self, board: Board) -> None:
        """Until the board closes."""
        async with trio.open_nursery() as nursery:
            if self._env_file is not None:
                nursery.start_soon(self._env_file.run, board)
            nursery.start_soon(write_lines, board, self._renderer, sys.stdout.fileno())
