"""Writes to a descriptor that others write to as well, and may have made non-blocking."""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import io


def write_whole(descriptor: int, data: bytes) -> None:
    """In one write where the reader keeps up: others who write there come before or after. Raises OSError.

    `data` is UTF-8. A console of Windows takes it through Python's stream alone: bytes would be read in its code page.
    """
    console = _console(descriptor)
    while data:
        try:
            data = data[(console.write(data) or 0) if console else os.write(descriptor, data) :]
        except BlockingIOError:
            # Whoever shares our terminal or pipe may have made it non-blocking.
            select.select([], [descriptor], [])


def has_room(descriptor: int, size: int) -> bool:
    """Whether a write of so many bytes returns at once; Windows cannot tell, there it is assumed."""
    if sys.platform != "win32":
        asked = select.poll()
        asked.register(descriptor, select.POLLOUT)
        return size <= select.PIPE_BUF and bool(asked.poll(0))  # POSIX: so much goes in at once
    else:  # noqa: RET505 - mypy knows platforms in blocks alone
        return True


def _console(descriptor: int) -> io.RawIOBase | None:
    if sys.platform == "win32" and os.isatty(descriptor):
        stream = sys.stderr if descriptor == 2 else sys.stdout
        return cast("io.RawIOBase", cast("io.BufferedWriter", stream.buffer).raw)
    return None
