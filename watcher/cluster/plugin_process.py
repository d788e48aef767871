"""Ends a login plugin with all that it has started, and says how one ended."""

from __future__ import annotations

import signal
from contextlib import suppress

import trio

from forwarders.system.processes import end_by_signal, fatal_signals, kill_tree


def how_ended(code: int | None) -> str:
    """The exit code, or the signal."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"ended by {signal.Signals(-code).name}"
    return f"exit code {code}"


async def end_plugin(process: trio.Process, *, group: bool) -> None:
    """Kill the plugin and its children, where they still run."""
    if process.returncode is None:
        kill_tree(process.pid, group=group)
        with trio.CancelScope(shield=True):  # it has been killed: this ends
            await process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            await trio.aclose_forcefully(stream)


async def end_together(process: trio.Process) -> None:
    """A signal that ends us at once, since nothing runs yet that would take it, ends the plugin too."""
    ours = fatal_signals()
    if not ours:
        return
    with trio.open_signal_receiver(*ours) as arrivals:
        async for number in arrivals:
            kill_tree(process.pid, group=False)
            end_by_signal(number)
