"""A portside started as users start it, with its JSON lines and its exit code. Waits are for lines, not for time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import trio

from forwarders.system.processes import wait_process_end

Record = dict[str, Any]
# Seconds that `python -S -c pass` takes on a machine that does nothing else.
USUAL_START = 0.03
PORTSIDE = str(Path(sys.executable).parent / "portside")
_FIRST_LINE = r"^portside \w+: (context .*, (namespace .*|all namespaces)|no cluster), (page http://.*|no page .*)\n"
# Makes standard input the controlling terminal of the session, then execs the arguments that follow.
_ON_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


class Portside:
    """A running portside. `records`: every JSON line so far. `others`: the other lines on stdout.

    `first_line` names the context, the namespace and the page; `others` and `stderr` do not contain it.
    """

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.records: list[Record] = []
        self.others: list[str] = []
        self.first_line = ""
        self._stderr = ""
        self._arrived = trio.Event()
        self._stdout_over, self._stderr_over = trio.Event(), trio.Event()

    @property
    def stderr(self) -> str:
        """The output on stderr without the first line."""
        return re.sub(_FIRST_LINE, "", self._stderr, count=1, flags=re.MULTILINE)

    async def wait_for(self, wanted: Callable[[list[Record]], bool], timeout: float = 60) -> None:
        """Returns when `wanted(records)` is true; after the time limit fails with the output."""
        with trio.move_on_after(timeout):
            while not wanted(self.records):
                assert not self._stdout_over.is_set(), f"portside ended\n{self.stderr}\n{self.records}"
                self._arrived = trio.Event()
                await self._arrived.wait()
            return
        raise AssertionError(f"not seen within {timeout} s\nstderr: {self.stderr}\nrecords: {self.records[-20:]}")

    async def ready(self, name: str, timeout: float = 60, **fields: Any) -> Record:
        """The forward of resource `name`, when its last record is `ready`."""

        def is_ready(records: list[Record]) -> bool:
            return (self.last(name, **fields) or {}).get("state") == "ready"

        await self.wait_for(is_ready, timeout)
        found = self.last(name, **fields)
        assert found is not None
        return found

    def last(self, name: str, **fields: Any) -> Record | None:
        """The last record of the forward of resource `name` (and with these fields)."""
        wanted = {"kind": "forward", "resourceName": name, **fields}
        matching = [r for r in self.records if wanted.items() <= r.items()]
        return matching[-1] if matching else None

    @property
    def forwards(self) -> list[Record]:
        """The last record of each forward that has not stopped."""
        last = {r["id"]: r for r in self.records if r["kind"] == "forward"}
        return [record for record in last.values() if record["state"] != "stopped"]

    async def stopped(self, timeout: float = 60) -> None:
        """Returns when every forward has reported that it stopped and its port is free."""
        await self.wait_for(lambda _: not self.forwards, timeout)

    async def says(self, text: str, timeout: float = 60) -> None:
        """Returns when stderr contains `text`."""
        await self.wait_for(lambda _: text in self.stderr, timeout)

    def interrupt(self) -> None:
        """Like Ctrl-C: sends SIGINT to the whole process group. Only with `session`."""
        os.killpg(self.process.pid, signal.SIGINT)

    async def end(self, number: int = signal.SIGINT, timeout: float = 60) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return await self.wait(timeout)

    async def wait(self, timeout: float = 60) -> int:
        with trio.fail_after(timeout):
            code = await self.process.wait()
        # What it wrote is in the pipes; a child that outlives it may keep them open.
        for pipe, over in ((self.process.stdout, self._stdout_over), (self.process.stderr, self._stderr_over)):
            while not over.is_set() and _unread(pipe):
                await trio.lowlevel.checkpoint()
        return code

    async def read_stdout(self) -> None:
        kept = b""
        assert self.process.stdout is not None
        async for data in self.process.stdout:
            *lines, kept = (kept + data).split(b"\n")
            ours = [line for line in lines if line.startswith(b'{"kind":')]
            self.records += [json.loads(line) for line in ours]
            self.others += [line.decode() for line in lines if line not in ours]
            if self.others and re.match(_FIRST_LINE, f"{self.others[0]}\n"):
                self.first_line = self.others.pop(0)
            self._arrived.set()
        self._stdout_over.set()
        self._arrived.set()

    async def read_stderr(self) -> None:
        assert self.process.stderr is not None
        async for data in self.process.stderr:
            self._stderr += data.decode(errors="replace")
            if found := re.search(_FIRST_LINE, self._stderr, re.MULTILINE):
                self.first_line = found[0].rstrip("\n")
            self._arrived.set()
        self._stderr_over.set()


def _unread(pipe: trio.abc.ReceiveStream | None) -> int:
    """How many bytes are in the pipe."""
    if sys.platform == "win32":
        return 0
    import fcntl  # noqa: PLC0415 - Windows has neither
    import termios  # noqa: PLC0415 - as above

    assert isinstance(pipe, trio.lowlevel.FdStream)
    return int.from_bytes(fcntl.ioctl(pipe.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)


async def slowness() -> float:
    """How many times longer than usual a program takes now, at least 1: a factor for limits that users are promised."""
    began = trio.current_time()
    await trio.run_process([sys.executable, "-S", "-c", "pass"])
    return max((trio.current_time() - began) / USUAL_START, 1.0)


def in_session(session: int) -> list[psutil.Process]:
    """The running processes of a session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill_session(session: int) -> None:
    for process in in_session(session):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


async def gone(pid: int) -> float:
    """Waits until a process, not necessarily a child, has ended; returns trio's time then."""
    await wait_process_end(pid)
    return trio.current_time()


@asynccontextmanager
async def portside(
    *arguments: str,
    environment: Mapping[str, str] = os.environ,
    folder: Path | None = None,
    output: str = "json",
    session: bool = False,
    terminal: int | None = None,
    ignoring: str = "",
    program: Sequence[str] = (PORTSIDE,),
) -> AsyncIterator[Portside]:
    """Start `portside ARGUMENTS…`; at the end it is killed, with its session, unless it has ended.

    `ignoring`: names of signals that it ignores from the start, as under nohup.

    `session`: in its own session and process group, as a shell's job. `terminal`: the controlling terminal of that
    session.

    `program`: how portside is started.
    """
    command: Sequence[str] = (*program, arguments[0], f"--output={output}", *arguments[1:])
    if ignoring:
        command = ("sh", "-c", f"trap '' {ignoring}; exec \"$@\"", "sh", *command)
    if terminal is not None:
        command = (sys.executable, "-c", _ON_TERMINAL, *command)
    process = await trio.lowlevel.open_process(
        command,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environment),
        cwd=folder,
        start_new_session=session or terminal is not None,
    )
    running = Portside(process)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.read_stdout)
        nursery.start_soon(running.read_stderr)
        try:
            yield running
        finally:
            if session or terminal is not None:
                kill_session(process.pid)
            elif process.returncode is None:
                process.kill()
            with trio.CancelScope(shield=True), trio.move_on_after(5):
                await process.wait()
            nursery.cancel_scope.cancel()
