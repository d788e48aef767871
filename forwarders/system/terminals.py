"""Handles what the user sees: terminals (foreground, size, echo), standard streams (encoding, writes), the browser."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import io

if sys.platform != "win32":
    import termios

# Whether the live table can be drawn: it needs a signal when the window's size changes.
CAN_DRAW = sys.platform != "win32"
# The signals after which it is drawn again: the window's size changed, or this process was continued.
RESIZED, CONTINUED = (int(getattr(signal, name, 0)) for name in ("SIGWINCH", "SIGCONT"))


def in_foreground(descriptor: int) -> bool:
    """Whether this process group has the terminal; a shell's background job does not."""
    if sys.platform == "win32":
        return True
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return True  # not our controlling terminal: no shell shares it


def set_echo(descriptor: int, *, on: bool, lines: bool = True) -> None:
    """Shows or hides typed keys; Ctrl-C works either way. Does nothing in the background, where it would stop us.

    `lines`: False for keys that can be read one by one, without Enter.
    """
    if sys.platform != "win32" and in_foreground(descriptor):
        with contextlib.suppress(termios.error):
            modes = termios.tcgetattr(descriptor)
            flags = termios.ECHO if lines else termios.ECHO | termios.ICANON
            modes[3] = modes[3] | flags if on else modes[3] & ~flags
            termios.tcsetattr(descriptor, termios.TCSANOW, modes)
            if on:
                termios.tcflush(descriptor, termios.TCIFLUSH)


def print_utf8() -> None:
    """On Windows, makes redirected standard streams UTF-8 too: their code page has no arrows."""
    if sys.platform == "win32":
        for stream in (sys.stdout, sys.stderr):
            use_utf8(cast("io.TextIOWrapper", stream))


def use_utf8(stream: io.TextIOWrapper) -> None:
    """Sets the stream's encoding, unless it is a console, which always takes UTF-8."""
    if not stream.isatty():
        stream.reconfigure(encoding="utf-8")


def write_whole(descriptor: int, data: bytes) -> None:
    """Writes all of `data` (UTF-8), in one write if the reader keeps up, also if the descriptor is non-blocking.

    A Windows console gets it through Python's stream: the console would decode bytes by its code page. Raises OSError.
    """
    console = _console(descriptor)
    while data:
        try:
            data = data[(console.write(data) or 0) if console else os.write(descriptor, data) :]
        except BlockingIOError:
            # Another process that shares our terminal or pipe may have made it non-blocking.
            select.select([], [descriptor], [])


def has_room(descriptor: int, size: int) -> bool:
    """Whether a write of `size` bytes would not block. Windows cannot tell; there the answer is always yes."""
    if sys.platform == "win32":
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return size <= select.PIPE_BUF and bool(poll.poll(0))  # POSIX: a write of PIPE_BUF bytes is atomic


def _console(descriptor: int) -> io.RawIOBase | None:
    if sys.platform == "win32" and os.isatty(descriptor):
        stream = sys.stderr if descriptor == 2 else sys.stdout
        return cast("io.RawIOBase", cast("io.BufferedWriter", stream.buffer).raw)
    return None


# The browser

# Seconds to wait for the program that opens a URL: it hands over to a browser and ends, or it is the browser.
_OPENS_WITHIN = 3.0


def open_url(url: str, environ: Mapping[str, str] = os.environ) -> str:
    """Opens `url` in the user's browser, without our terminal. Returns why it could not, or "".

    BROWSER lists programs, of which the first that works is used; `%s` stands for the URL. Without it the desktop's own
    browser is used, if there is a desktop.
    """
    if sys.platform == "win32" and not environ.get("BROWSER"):
        try:
            os.startfile(url)  # noqa: S606 - the system's own way
        except OSError as error:
            return error.strerror or str(error)
        return ""
    problem = "there is no display, and BROWSER is not set"
    for command in _browsers(url, environ):
        problem = _browser_problem(command)
        if not problem:
            break
    return problem


def _browsers(url: str, environ: Mapping[str, str]) -> list[list[str]]:
    """The commands that may open `url`, in the order to try them."""
    texts = [text for text in environ.get("BROWSER", "").split(os.pathsep) if text.strip()]
    if texts:
        words = [text.split() for text in texts]
        return [[word.replace("%s", url) for word in (one if "%s" in " ".join(one) else [*one, "%s"])] for one in words]
    if sys.platform == "darwin":
        return [["open", url]]
    return [["xdg-open", url]] if environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY") else []


def _browser_problem(command: list[str]) -> str:
    """Starts `command`; returns why it failed, or "". A browser that stays is a success."""
    quiet = subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
        code = process.wait(_OPENS_WITHIN)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return ""
    return f"{command[0]} ended with exit code {code}" if code else ""
