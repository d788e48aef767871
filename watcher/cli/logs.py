"""Owns what goes to stderr besides errors. Refuses other libraries' logs: they may print headers, so credentials."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

from watcher.cli.log_lines import UnhurriedHandler

FORMAT = "portside: %(message)s"
LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


def set_up(verbose: int) -> None:
    """portside's own loggers speak on stderr, from warnings (0) to debug (2 and more); nobody else's do."""
    handler = UnhurriedHandler(sys.stderr.fileno(), sys.stderr.encoding)
    handler.setFormatter(_OneLine(FORMAT))
    ours = logging.getLogger("portside")
    ours.handlers[:] = [handler]
    ours.propagate = False
    ours.setLevel(LEVELS[min(verbose, len(LEVELS) - 1)])
    logging.getLogger().handlers[:] = [logging.NullHandler()]


@contextlib.contextmanager
def diverted(say: Callable[[str], None]) -> Iterator[None]:
    """For the length of the block our lines go to `say`, called in whatever thread: stderr is a table's terminal."""
    ours = logging.getLogger("portside")
    before = ours.handlers[:]
    handler = _Saying(say)
    handler.setFormatter(_OneLine(FORMAT))
    ours.handlers[:] = [handler]
    try:
        yield
    finally:
        ours.handlers[:] = before


class _Saying(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(self.format(record))


class _OneLine(logging.Formatter):
    """One line a message and no control characters: texts come from clusters and must not steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        from watcher.board.text import printable

        return printable(super().format(record))
