"""Identifies processes, finds and starts programs, and passes the signals that ask portside to stop.

On Windows only the console sends signals: Ctrl-C goes to every process of the console except those in a group of their
own, and Ctrl-Break can be sent to such a group. Any other signal to a process there ends it at once.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import trio

WINDOWS = sys.platform == "win32"
CTRL_C = signal.SIGINT
# Whether the console sends its signals to every child in our group, so that there is nothing to pass on.
CONSOLE_REACHES_GROUP = sys.platform == "win32"
# Whether children started with `group_options` get only the signals that we send them.
CHILD_HAS_OWN_GROUP = sys.platform == "win32"

# Seconds between two checks, where the system has no event for the end of a process.
_POLL_INTERVAL = 0.5
_PROC = Path("/proc")
_ENDED_STATES = {"Z", "X", "x"}
# PATHEXT may be written in any case, and may name scripts that the system cannot start by itself.
_STARTABLE = (".COM", ".EXE", ".BAT", ".CMD")


# Identity: a process id and the time at which the process started


def start_time(pid: int) -> float | None:
    """Return when process `pid` started, in a unit of this machine; None if no such process runs.

    On Linux the unit is clock ticks since the boot, which a change of the wall clock does not move.
    """
    if pid <= 0:
        return None
    has_proc = sys.platform == "linux" and (_PROC / "self" / "stat").exists()
    return _start_time_from_proc(pid) if has_proc else _start_time_from_system(pid)


async def wait_process_end(pid: int) -> None:
    """Wait until no process `pid` runs."""
    import trio  # noqa: PLC0415 - every command imports this module; `--help` does not need trio

    while start_time(pid) is not None:
        descriptor = _process_descriptor(pid)
        if descriptor is None:
            await trio.sleep(_POLL_INTERVAL)
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


def _process_descriptor(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where the system only informs the parent."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            return os.pidfd_open(pid)
    return None


def _start_time_from_proc(pid: int) -> float | None:
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except (OSError, ValueError):
        return None
    # proc(5): pid, name in parentheses (of any characters), state, 18 numbers, starttime.
    fields = text[text.rindex(b")") + 1 :].split()
    return None if fields[0].decode() in _ENDED_STATES else float(fields[19])


def _start_time_from_system(pid: int) -> float | None:
    import psutil  # noqa: PLC0415 - 20 ms, and not on Linux

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except (psutil.Error, OSError, OverflowError):
        return None


# Port owners


class PortOwner(NamedTuple):  # every command imports this module: msgspec would cost it 20 ms
    """A process that listens; pid 0 and no name if the system does not tell this user whose port it is."""

    pid: int = 0
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})" if self.pid else "a process that this user may not see"


def port_owners() -> dict[int, PortOwner] | None:
    """The owners of this machine's listening TCP ports; None if this user may not ask (on macOS only root may)."""
    import psutil  # noqa: PLC0415 - 20 ms that only a taken port should cost

    owners: dict[int, PortOwner] = {}
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr:
                known = owners.get(connection.laddr.port)
                if known is None or not known.pid:
                    owners[connection.laddr.port] = _owner(connection.pid)
    except (psutil.Error, OSError):
        return owners or None
    return owners


def owner_suffix(port: int) -> str:
    """Name the owner of a taken port as the end of a message: ` by nginx (pid 12)`; "" if it is not known."""
    owner = (port_owners() or {}).get(port, PortOwner())
    return f" by {owner}" if owner.pid else ""


def _owner(pid: int | None) -> PortOwner:
    import psutil  # noqa: PLC0415 - as above

    try:
        return PortOwner(pid, psutil.Process(pid).name()) if pid else PortOwner()
    except (psutil.Error, OSError):
        return PortOwner()


# Signals


def stop_signals() -> list[signal.Signals]:
    """The signals that ask portside to stop. SIGHUP only if it is not ignored (nohup ignores it)."""
    if sys.platform == "win32":
        return [signal.SIGINT, signal.SIGTERM, signal.SIGBREAK]  # SIGBREAK: Ctrl-Break, or the console was closed
    hangup = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hangup]


def fatal_signals() -> list[signal.Signals]:
    """The signals among those of Ctrl-C and `kill` that have no handler and would end this process."""
    return [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is signal.SIG_DFL]


def end_by_signal(number: int) -> None:
    """Ends this process as the signal would have done without a handler."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def group_options(*, detached: bool = False) -> dict[str, Any]:
    """Options for a child that `send_signal` can reach: on Windows it gets a group of its own.

    Elsewhere only if it is `detached`, so that it does not get the terminal's signals.
    """
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"process_group": 0} if detached else {}


def send_signal(process: trio.Process, number: int) -> None:
    """Sends a signal to a child started with `group_options`; on Windows as Ctrl-Break, to its whole group."""
    if sys.platform == "win32":
        number = signal.CTRL_BREAK_EVENT
    process.send_signal(number)


def send_signal_to_tree(process: trio.Process, number: int) -> None:
    """Sends the signal to the process and all its descendants, as Ctrl-C in their terminal would do."""
    if sys.platform != "win32":
        import psutil  # noqa: PLC0415 - 20 ms, only for wrappers

        with suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    child.send_signal(number)
    send_signal(process, number)


def kill_tree(pid: int, *, group: bool) -> None:
    """Kills a process and all its descendants. `group`: it leads a process group, which is killed too."""
    import psutil  # noqa: PLC0415 - 20 ms, only for what has to be killed

    with suppress(psutil.Error):
        parent = psutil.Process(pid)
        for child in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.Error):
                child.kill()
    if group and sys.platform != "win32":
        with suppress(OSError):
            os.killpg(pid, signal.SIGKILL)


async def end_process(process: trio.Process, *, group: bool) -> None:
    """Kill the process and its children if it still runs, and close its pipes."""
    import trio  # noqa: PLC0415 - `--help` imports this module

    if process.returncode is None:
        kill_tree(process.pid, group=group)
        with trio.CancelScope(shield=True):  # killed: this returns soon
            await process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            await trio.aclose_forcefully(stream)


async def read_within(most: int, stream: trio.abc.ReceiveStream, into: bytearray, whole: trio.CancelScope) -> None:
    """Reads a process's output to its end. Cancels `whole` when there are more than `most` bytes."""
    async for data in stream:
        into += data
        if len(into) > most:
            whole.cancel()
            return


# Programs. On Windows the system's own search looks into the working folder first, and so does `shutil.which`: a
# cloned repository could bring its own skaffold.exe. Nothing is ever started from there.


def find_program(name: str, path: str | None) -> str | None:
    """The file that the command `name` would start. `path`: the value of PATH to search; None: this process's PATH."""
    if not WINDOWS:
        return shutil.which(name, path=path)
    return find_on_windows(name, os.environ.get("PATH", "") if path is None else path)


def find_on_windows(name: str, path: str) -> str | None:
    """Searches for a bare name in the absolute folders of `path`, for any other as it is or with one of PATHEXT."""
    known = [one for one in os.environ.get("PATHEXT", ";".join(_STARTABLE)).split(";") if one.upper() in _STARTABLE]
    extensions = ["", *known] if name.upper().endswith(_STARTABLE) else known
    bare = os.path.basename(name) == name
    folders = [folder.strip('"') for folder in path.split(os.pathsep)] if bare else [""]
    for folder in folders:
        if bare and not os.path.isabs(folder):
            continue
        for extension in extensions:
            found = os.path.join(folder, name + extension)
            if os.path.isfile(found):
                return found
    return None


def startable(command: Sequence[str], environ: Mapping[str, str] | None) -> list[str]:
    """`command`, on Windows with the program's full path. Raises FileNotFoundError if there is no such program."""
    if not WINDOWS:
        return [*command]
    found = find_program(command[0], None if environ is None else environ.get("PATH"))
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    return [found, *command[1:]]


def shell_command(text: str) -> list[str] | str:
    """The command that runs `text` in the user's shell: sh, or the command processor of Windows."""
    if sys.platform == "win32":
        system = os.environ.get("SYSTEMROOT", r"C:\Windows")
        shell = os.environ.get("COMSPEC") or os.path.join(system, "System32", "cmd.exe")
        return f'"{shell}" /d /s /c "{text}"'
    return ["sh", "-c", text]
