"""Owns what goes to stderr besides errors. Refuses other libraries' logs: they may print headers, so credentials."""

from __future__ import annotations

import logging

LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


def set_up(verbose: int) -> None:
    """portside's own loggers speak on stderr, from warnings (0) to debug (2 and more); nobody else's do."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("portside: %(message)s"))
    ours = logging.getLogger("portside")
    ours.handlers[:] = [handler]
    ours.propagate = False
    ours.setLevel(LEVELS[min(verbose, len(LEVELS) - 1)])
    logging.getLogger().handlers[:] = [logging.NullHandler()]


class _OneLine(logging.Formatter):
    """One line a message and no control characters: texts come from clusters and must not steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        from watcher.board.lines import printable

        return printable(super().format(record))
