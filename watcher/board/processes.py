"""Tells one process from a later one that has the same process id: by the moment it began."""

from __future__ import annotations

import os
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
    return _of_proc(pid) if (_PROC / "self" / "stat").exists() else _of_system(pid)


async def ended(pid: int) -> None:
    """Returns once no process `pid` runs; at once where none does."""
    while began(pid) is not None:
        try:
            descriptor = os.pidfd_open(pid)
        except (AttributeError, OSError):
            await trio.sleep(_LOOK_EVERY)  # a system that tells nobody but the parent
            continue
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)


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
