"""Ends a login plugin with all that it has started, and says how one ended."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

import psutil
import trio


def how_ended(code: int | None) -> str:
    """The exit code, or the signal."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"ended by {signal.Signals(-code).name}"
    return f"exit code {code}"


async def ended(process: trio.Process, *, group: bool) -> None:
    """Kill the plugin and its children, where they still run."""
    if process.returncode is None:
        _kill(process.pid, group=group)
        with trio.CancelScope(shield=True):  # it has been killed: this ends
            await process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            await trio.aclose_forcefully(stream)


def _kill(pid: int, *, group: bool) -> None:
    with suppress(psutil.Error):
        parent = psutil.Process(pid)
        for child in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.Error):
                child.kill()
    if group and sys.platform != "win32":
        with suppress(OSError):
            os.killpg(pid, signal.SIGKILL)


async def end_together(process: trio.Process) -> None:
    """A signal that ends us at once, since nothing runs yet that would take it, ends the plugin too."""
    ours = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is signal.SIG_DFL]
    if not ours:
        return
    with trio.open_signal_receiver(*ours) as arrivals:
        async for number in arrivals:
            _kill(process.pid, group=False)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
