"""Handles terminals and standard streams: who has the terminal, its size changes, the echo of keys, encodings."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import io

if sys.platform != "win32":
    import termios

# Whether the live table can be drawn: a change of the window's size must be an event.
CAN_DRAW = sys.platform != "win32"


def redraw_signals() -> list[int]:
    """The terminal has another size, or we have been brought back to the foreground."""
    if sys.platform == "win32":
        return []
    return [signal.SIGWINCH, signal.SIGCONT]


def is_continued(number: int) -> bool:
    """Whether the signal says that we run again after a stop."""
    if sys.platform == "win32":
        return False
    return number == signal.SIGCONT


def in_foreground(descriptor: int) -> bool:
    """Whether this process group has the terminal; a shell's background job does not."""
    if sys.platform == "win32":
        return True
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return True  # not our controlling terminal: no shell shares it


def set_echo(descriptor: int, *, on: bool) -> None:
    """Whether typed keys are shown. Ctrl-C works all the same. Nothing in the background, where it would stop us."""
    if sys.platform != "win32" and in_foreground(descriptor):
        with contextlib.suppress(termios.error):
            modes = termios.tcgetattr(descriptor)
            modes[3] = modes[3] | termios.ECHO if on else modes[3] & ~termios.ECHO
            termios.tcsetattr(descriptor, termios.TCSANOW, modes)
            if on:
                termios.tcflush(descriptor, termios.TCIFLUSH)


def print_utf8() -> None:
    """On Windows standard streams that are no console get UTF-8 too: their code page has no arrows."""
    if sys.platform == "win32":
        for stream in (sys.stdout, sys.stderr):
            use_utf8(cast("io.TextIOWrapper", stream))


def use_utf8(stream: io.TextIOWrapper) -> None:
    """Unless it is a console, or already does."""
    if not stream.isatty():
        stream.reconfigure(encoding="utf-8")
