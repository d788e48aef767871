"""Writes log lines to stderr without waiting for who reads it: a full pipe or a terminal stopped by Ctrl-S.

A line is written at once where there is room for it. Other lines wait for a thread, in order; behind a bound the newest
are dropped and counted.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque

from forwarders.system.terminals import has_room, write_whole

# Lines that wait for a reader: more than anybody reads afterwards.
MOST_WAITING = 1_000
# Seconds that the end of the program waits for what still waits.
LAST_LINES = 0.3


class UnhurriedHandler(logging.Handler):
    """Logs to `descriptor`, in `encoding`."""

    def __init__(self, descriptor: int, encoding: str) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._encoding = encoding
        self._waiting: deque[bytes] = deque()
        self._dropped = 0
        self._writing = False
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        self._write(self.format(record))

    def flush(self) -> None:
        """Returns once nothing waits, or after LAST_LINES."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, LAST_LINES)

    def _write(self, line: str) -> None:
        data = f"{line}\n".encode(self._encoding, "backslashreplace")
        with self._changed:
            if not self._waiting and has_room(self._descriptor, len(data)):
                try:
                    write_whole(self._descriptor, data)
                except OSError:
                    return  # nobody reads it any more
            elif len(self._waiting) >= MOST_WAITING:
                self._dropped += 1
            else:
                self._waiting.append(data)
                self._start()

    def _start(self) -> None:
        if not self._writing:
            self._writing = True
            threading.Thread(target=self._drain, name="portside-log", daemon=True).start()

    def _drain(self) -> None:
        while data := self._next():
            with contextlib.suppress(OSError):  # as above
                write_whole(self._descriptor, data)
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()

    def _next(self) -> bytes:
        """The line to write, which keeps its place until it is written; b"" where nothing waits."""
        with self._changed:
            if not self._waiting and self._dropped:
                dropped, self._dropped = self._dropped, 0
                self._waiting.append(f"portside: {dropped} more lines were dropped: stderr was not read\n".encode())
            self._writing = bool(self._waiting)
            return self._waiting[0] if self._waiting else b""
