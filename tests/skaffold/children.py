"""Owns a `portside run` in small, and a Skaffold in small below it, as real processes that tell what they get."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

# Says its pid and group, then the name of each signal it gets; SIGTERM and SIGHUP end it with code 3. Signals are
# waited for in place of handled: one that came between a handler and pause() would lie there unseen.
SKAFFOLD = """
import os, signal
numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
os.write(1, f"skaffold: {os.getpid()} {os.getpgrp()}\\n".encode())
while True:
    number = signal.sigwait(numbers)
    os.write(1, f"skaffold: {signal.Signals(number).name}\\n".encode())
    if number != signal.SIGINT:
        os._exit(3)
"""

# The child's part of `portside run`; with "crash" it fails as soon as the child runs.
PORTSIDE = """
import logging, sys, trio
from watcher.skaffold.process import SkaffoldProcess

logging.basicConfig(stream=sys.stdout, level=logging.DEBUG, format="portside: %(message)s")

def tell(line):
    print(f"{line}\\n", end="", flush=True)  # one write: the child writes into the same pipe

async def main():
    process = SkaffoldProcess(sys.argv[2:])
    async def ending():
        await process.ending.wait()
        tell("portside: ending")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ending)
        if sys.argv[1] == "crash":
            await nursery.start(process.run)
            raise RuntimeError("a bug of ours")
        tell(f"portside: code {await process.run()}")
        nursery.cancel_scope.cancel()

trio.run(main)
"""

# Makes standard input the controlling terminal of a new session, then becomes the words that follow.
ON_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Run:
    """A running PORTSIDE and the lines that come from it and from its child, in order."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._buffer = b""

    async def until(self, text: str) -> str:
        """The next line that begins with `text`."""
        assert self.process.stdout is not None
        while True:
            while b"\n" not in self._buffer:
                data = await self.process.stdout.receive_some()
                assert data, f"ended before it said {text!r}: {self.lines}"
                self._buffer += data
            line, _, self._buffer = self._buffer.partition(b"\n")
            self.lines.append(line.decode())
            if self.lines[-1].startswith(text):
                return self.lines[-1]

    async def heard(self, line: str, times: int) -> None:
        """Waits until `line` has come so many times; signals that follow faster than they are handled become one."""
        while self.count(line) < times:
            await self.until("")

    async def ready(self) -> tuple[int, int]:
        """The child's pid and process group."""
        pid, group = (await self.until("skaffold: ")).split()[1:]
        return int(pid), int(group)

    def kill(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def count(self, line: str) -> int:
        return self.lines.count(line)


@asynccontextmanager
async def portside(*skaffold: str, how: str = "run", terminal: int | None = None) -> AsyncIterator[Run]:
    """PORTSIDE above `skaffold`, in a group of its own; on `terminal` (a file descriptor) as a shell would start it."""
    words: Sequence[str] = [sys.executable, "-c", PORTSIDE, how, *skaffold]
    if terminal is not None:
        words = [sys.executable, "-c", ON_TERMINAL, *words]
    process = await trio.lowlevel.open_process(
        words,
        stdin=subprocess.DEVNULL if terminal is None else terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=terminal is None,
        cwd=Path(__file__).parents[2],
    )
    try:
        with trio.fail_after(60):
            yield Run(process)
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        if process.stdout is not None:
            await process.stdout.aclose()
