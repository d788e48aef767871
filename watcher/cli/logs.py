"""Owns what goes to stderr besides errors. Refuses other libraries' logs: they may print headers, so credentials."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator

from watcher.cli.log_lines import UnhurriedHandler

FORMAT = "portside: %(message)s"
# Seconds until the same warning is printed again, and how many different ones are remembered for it.
AGAIN_AFTER, MOST_TEXTS = 1.0, 100
LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


def set_up(verbose: int) -> None:
    """portside's own loggers speak on stderr, from warnings (0) to debug (2 and more); nobody else's do."""
    handler = _prepared(UnhurriedHandler(sys.stderr.fileno(), sys.stderr.encoding))
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
    ours.handlers[:] = [_prepared(_Saying(say))]
    try:
        yield
    finally:
        ours.handlers[:] = before


def _prepared(handler: logging.Handler) -> logging.Handler:
    handler.setFormatter(_OneLine(FORMAT))
    handler.addFilter(OncePerSecond())
    return handler


class OncePerSecond(logging.Filter):
    """Passes the same warning once a second, with the number of those that were left out since the last one.

    Clients decide how often some of them come: each connection that is turned away is one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[str, tuple[float, int]] = {}  # when, and how many were left out since; the oldest first

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        text, now = record.getMessage(), time.monotonic()
        at, left_out = self._passed.get(text, (-math.inf, 0))
        if now - at < AGAIN_AFTER:
            self._passed[text] = (at, left_out + 1)
            return False
        self._passed.pop(text, None)
        if len(self._passed) == MOST_TEXTS:
            del self._passed[next(iter(self._passed))]
        self._passed[text] = (now, 0)
        if left_out:
            record.msg, record.args = "%s (%d times more)", (text, left_out)
        return True


class _Saying(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(self.format(record))


class _OneLine(logging.Formatter):
    """One line a message and no control characters: texts come from clusters and must not steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        from watcher.board.lines import printable

        return printable(super().format(record))
