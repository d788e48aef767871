"""Knows the signals that ask portside to end, and passes them on to child processes.

On Windows only the console sends signals: Ctrl-C goes to every process of the console except those in a group of their
own, and Ctrl-Break can be sent to such a group. Any other signal to a process there ends it at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import trio

CTRL_C = signal.SIGINT
# Whether a child in our group always gets from the console what we get, so that there is nothing to pass on.
CONSOLE_REACHES_GROUP = sys.platform == "win32"
# Whether children started with `signalled_group` get no signal that they are not passed.
CHILD_HAS_OWN_GROUP = sys.platform == "win32"


def ending_signals() -> list[signal.Signals]:
    """SIGHUP only where it is not ignored (nohup); SIGBREAK is Ctrl-Break and a closed console on Windows."""
    if sys.platform == "win32":
        return [signal.SIGINT, signal.SIGTERM, signal.SIGBREAK]
    hangup = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hangup]


def let_ctrl_c_end_us() -> None:
    """Ctrl-C ends the process as it ends any program, without a traceback; where it is ignored it stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def fatal_signals() -> list[signal.Signals]:
    """Those of Ctrl-C and `kill` that would end this process now, since nothing handles them."""
    return [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is signal.SIG_DFL]


def end_by(number: int) -> None:
    """Ends this process as the signal would have done if nothing had handled it."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def signalled_group() -> dict[str, Any]:
    """Options to start a child that `send_to` can reach: on Windows in a group of its own, elsewhere in ours."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {}


def detached_group() -> dict[str, Any]:
    """Options to start a child that does not get the terminal's signals."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"process_group": 0}


def send_to(process: trio.Process, number: int) -> None:
    """Sends a signal to a child started with `signalled_group`; on Windows as Ctrl-Break, to its whole group."""
    if sys.platform == "win32":
        number = signal.CTRL_BREAK_EVENT
    process.send_signal(number)


def send_to_tree(process: trio.Process, number: int) -> None:
    """Sends the signal to the process and to all that it started, as Ctrl-C in their terminal would reach them."""
    if sys.platform != "win32":
        import psutil  # noqa: PLC0415 - 20 ms, for wrappers alone

        with suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    child.send_signal(number)
    send_to(process, number)


def kill_tree(pid: int, *, group: bool) -> None:
    """Kills a process and all that it started. `group`: it leads a group of its own, which is killed too."""
    import psutil  # noqa: PLC0415 - 20 ms, for login plugins alone

    with suppress(psutil.Error):
        parent = psutil.Process(pid)
        for child in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.Error):
                child.kill()
    if group and sys.platform != "win32":
        with suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
