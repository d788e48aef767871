"""Tells one process from a later one that has the same process id: by the moment it began."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import trio

# Seconds; where the system has no event for the end of a process.
_LOOK_EVERY = 0.5

_PROC = Path("/proc")
_ENDED = {"Z", "X", "x"}


def began(pid: int) -> float | None:
    """When process `pid` began, in a unit that holds on this machine; None where no such process runs.

    On Linux in clock ticks since the boot, which no change of the clock moves.
    """
    if pid <= 0:
        return None
    has_proc = sys.platform == "linux" and (_PROC / "self" / "stat").exists()
    return _of_proc(pid) if has_proc else _of_system(pid)


async def ended(pid: int) -> None:
    """Returns once no process `pid` runs; at once where none does."""
    while began(pid) is not None:
        descriptor = _descriptor_of(pid)
        if descriptor is None:
            await trio.sleep(_LOOK_EVERY)
            continue
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)


def launcher_of(pid: int) -> int:
    """The process that only started `pid` and waits for it: portside.exe, as pip makes it on Windows; 0 for none."""
    if sys.platform == "win32":
        import psutil  # noqa: PLC0415 - as below

        with suppress(psutil.Error, OSError):
            parent = psutil.Process(pid).parent()
            return parent.pid if parent and parent.name().lower() == "portside.exe" else 0
    return 0


def _descriptor_of(pid: int) -> int | None:
    """One that is readable once the process has ended; None where the system tells nobody but the parent."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            return os.pidfd_open(pid)
    return None


def _of_proc(pid: int) -> float | None:
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except (OSError, ValueError):
        return None
    # proc(5): pid, name in parentheses (of any characters), state, 18 numbers, starttime.
    fields = text[text.rindex(b")") + 1 :].split()
    return None if fields[0].decode() in _ENDED else float(fields[19])


def _of_system(pid: int) -> float | None:
    import psutil  # noqa: PLC0415 - 20 ms, and not on Linux

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except (psutil.Error, OSError, OverflowError):
        return None
