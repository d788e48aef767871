"""Reads keys from a terminal and carries out what they ask for: open or copy a URL, retry, show a pod's log."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator

import trio

from forwarders.system.terminals import in_foreground, open_url
from watcher.board.board import Board
from watcher.board.records import ForwardRecord
from watcher.errors import WatcherError

# Log lines to show: more than most terminals have.
LOG_LINES = 100
# Seconds for the log to arrive.
LOG_WITHIN = 5.0

_CSI = {
    "A": "up",
    "B": "down",
    "H": "home",
    "F": "end",
    "1~": "home",
    "4~": "end",
    "5~": "pageup",
    "6~": "pagedown",
}
_NAMES = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace"}
# Letters that move as in less and vi. They are letters while a filter is typed.
LETTERS = {"k": "up", "j": "down", "g": "home", "G": "end"}


def decode_keys(data: bytes) -> Iterator[str]:
    """Characters, or names: up, down, home, end, pageup, pagedown, enter, backspace, escape. Other keys are ignored."""
    text = data.decode(errors="ignore")
    while text:
        if text[:2] in {"\x1b[", "\x1bO"}:
            end = next((at for at in range(2, len(text)) if "@" <= text[at] <= "~"), len(text) - 1)
            if name := _CSI.get(text[2 : end + 1]):
                yield name
            text = text[end + 1 :]
        else:
            key, text = text[0], text[1:]
            if key == "\x1b":
                yield "escape"
            elif key in _NAMES:
                yield _NAMES[key]
            elif key.isprintable():
                yield key


class Keyboard:
    """The keys of the terminal `descriptor`. `continued`: set when this process may be in the foreground again."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.continued = trio.Event()

    async def next(self) -> list[str]:
        """The next keys. Raises EOFError when there will be no more."""
        while True:
            await trio.lowlevel.wait_readable(self._descriptor)
            if in_foreground(self._descriptor):
                break
            self.continued = trio.Event()
            await self.continued.wait()  # these keys are the shell's; reading them would stop this process
        try:
            data = os.read(self._descriptor, 1024)
        except OSError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        return [*decode_keys(data)]


async def open_in_browser(record: ForwardRecord) -> str:
    """Returns the message to show."""
    url = record.gateway or record.url
    if not url:
        return f"{record.resource} has no URL: it is {record.state}"
    problem = await trio.to_thread.run_sync(open_url, url, abandon_on_cancel=True)
    return f"{url} cannot be opened: {problem}" if problem else f"opened {url}"


def copy_sequence(url: str) -> bytes:
    """The escape sequence with which the terminal copies `url` to the clipboard (OSC 52)."""
    return b"\x1b]52;c;" + base64.b64encode(url.encode()) + b"\x07"


async def last_log_lines(board: Board, record: ForwardRecord) -> list[str]:
    """The last log lines of the pod that serves the forward, or one line that says why there are none."""
    if not record.pod:
        return [f"no pod serves {record.resource}: it is {record.state}"]
    try:
        with trio.fail_after(LOG_WITHIN):
            log = await board.pod_log(record, LOG_LINES)
    except trio.TooSlowError:
        return [f"the log of pod {record.pod} did not arrive within {LOG_WITHIN:g} s"]
    except WatcherError as error:
        return [f"the log of pod {record.pod} cannot be read: {error}"]
    return log.splitlines() or [f"the log of pod {record.pod} is empty"]
