"""Logs to stderr without waiting for its reader, which may be a full pipe or a terminal stopped by Ctrl-S.

Only portside's own loggers are printed: those of libraries may contain headers, and so credentials.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from forwarders.system.terminals import has_room, write_whole

FORMAT = "portside: %(message)s"
LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
# Seconds until the same warning is printed again, and how many warnings are remembered for that.
AGAIN_AFTER, MOST_TEXTS = 1.0, 100
# Lines that wait for the reader: more than anyone will read later.
MOST_WAITING = 1_000
# Seconds that the program's end waits for lines that are not written yet.
LAST_LINES = 0.3


def set_up(verbose: int) -> None:
    """Sends portside's log to stderr, from warnings (0) to debug (2 and more), and nothing else's."""
    ours = logging.getLogger("portside")
    ours.handlers[:] = [_prepared(NonBlockingHandler(sys.stderr.fileno(), sys.stderr.encoding))]
    ours.propagate = False
    ours.setLevel(LEVELS[min(verbose, len(LEVELS) - 1)])
    logging.getLogger().handlers[:] = [logging.NullHandler()]


@contextlib.contextmanager
def diverted(write: Callable[[str], None]) -> Iterator[None]:
    """Sends the log to `write`, from any thread, while the block runs: stderr is then the terminal of a table."""
    ours = logging.getLogger("portside")
    before = ours.handlers[:]
    ours.handlers[:] = [_prepared(_CallingHandler(write))]
    try:
        yield
    finally:
        ours.handlers[:] = before


def _prepared(handler: logging.Handler) -> logging.Handler:
    handler.setFormatter(_OneLine(FORMAT))
    handler.addFilter(OncePerSecond())
    return handler


class NonBlockingHandler(logging.Handler):
    """Writes lines to `descriptor`: at once if there is room, else from a thread, in order.

    When too many lines wait, it drops the newest and reports their number.
    """

    def __init__(self, descriptor: int, encoding: str) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._encoding = encoding
        self._waiting: deque[bytes] = deque()
        self._dropped = 0
        self._writing = False
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        data = f"{self.format(record)}\n".encode(self._encoding, "backslashreplace")
        with self._changed:
            if not self._waiting and has_room(self._descriptor, len(data)):
                with contextlib.suppress(OSError):  # the reader is gone
                    write_whole(self._descriptor, data)
            elif len(self._waiting) >= MOST_WAITING:
                self._dropped += 1
            else:
                self._waiting.append(data)
                self._start()

    def flush(self) -> None:
        """Waits until no line waits to be written, for at most LAST_LINES."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, LAST_LINES)

    def _start(self) -> None:
        if not self._writing:
            self._writing = True
            threading.Thread(target=self._drain, name="portside-log", daemon=True).start()

    def _drain(self) -> None:
        while data := self._next():
            with contextlib.suppress(OSError):  # the reader is gone
                write_whole(self._descriptor, data)
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()

    def _next(self) -> bytes:
        """Returns the next line, which stays in the queue until it is written; b"" if none waits."""
        with self._changed:
            if not self._waiting and self._dropped:
                dropped, self._dropped = self._dropped, 0
                self._waiting.append(f"portside: {dropped} more lines were dropped: stderr was not read\n".encode())
            self._writing = bool(self._waiting)
            return self._waiting[0] if self._waiting else b""


class OncePerSecond(logging.Filter):
    """Passes the same warning once a second, with the number of repetitions that were left out.

    Some warnings are logged once per connection, so clients decide how often they come.
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[str, tuple[float, int]] = {}  # time and repetitions since, the oldest first

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


class _CallingHandler(logging.Handler):
    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        self._write(self.format(record))


class _OneLine(logging.Formatter):
    """One line per message, without control characters: texts from clusters must not control a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        from watcher.board.lines import printable

        return printable(super().format(record))
