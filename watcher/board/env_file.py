"""Owns the file of --env-file: always whole, always as the forwards stand, empty of variables when they have ended.

Refuses to overwrite what portside did not write, and to cost a forward where it cannot be written.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import trio

from forwarders.system.files import write_whole_file
from watcher import user_files
from watcher.board.board import Board
from watcher.board.variables import Variables, env_lines
from watcher.errors import UsageError

logger = logging.getLogger("portside.board")

HEADER = "# Forwards of portside, as they stand; written anew whenever they change.\n"


class EnvFile:
    """`--env-file PATH`. Makes it, without a variable yet. Raises UsageError where it cannot or must not be written."""

    def __init__(self, path: str, variables: Variables) -> None:
        try:
            self._path = Path(path).resolve()  # what a link leads to is written, not the link
        except (OSError, RuntimeError):  # the latter: before Python 3.13
            raise UsageError(f"--env-file {path} is a link that leads to itself") from None
        self._variables = variables
        self._check()
        self._written = HEADER
        try:
            self._write(HEADER)
        except OSError as error:
            raise UsageError(f"--env-file {path} cannot be written: {error.strerror}") from None

    async def run(self, board: Board) -> None:
        """Writes every change until the board closes."""
        subscription = board.subscribe()
        try:
            while True:
                await subscription.next()
                await self._rewrite(board)
        except trio.EndOfChannel:
            return
        finally:
            board.unsubscribe(subscription)

    async def _rewrite(self, board: Board) -> None:
        text = HEADER + env_lines(self._variables.of(board.forwards.values()))
        if text == self._written:
            return
        try:
            await trio.to_thread.run_sync(self._write, text)
        except OSError as error:
            logger.warning("--env-file %s cannot be written, and is out of date: %s", self._path, error.strerror)
            self._written = ""  # whatever comes next is written
        else:
            self._written = text

    def _check(self) -> None:
        try:
            start = user_files.read_start(self._path, len(HEADER))
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(f"--env-file {self._path} cannot be used: {error.strerror}") from None
        header = HEADER.encode()
        if start not in {header, header.replace(b"\n", b"\r"), b""} or os.path.samefile(self._path, os.devnull):
            raise UsageError(f"--env-file {self._path} holds what portside did not write; name another file")

    def _write(self, text: str) -> None:
        """A draft in the same folder, mode 0600 from the start, that takes the file's place at once."""
        write_whole_file(self._path, text)
