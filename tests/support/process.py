"""Owns one portside started as users start it, its JSON lines, its end. Refuses to sleep: it waits for lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

Record = dict[str, Any]
PORTSIDE = str(Path(sys.executable).parent / "portside")


class Portside:
    """A running portside. `records` holds every JSON line so far."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.records: list[Record] = []
        self.stderr = ""
        self._arrived = trio.Event()
        self._over = False

    async def wait_for(self, wanted: Callable[[list[Record]], bool], timeout: float = 60) -> None:
        """Returns once `wanted(records)`; fails with what was said where that does not come."""
        with trio.move_on_after(timeout):
            while not wanted(self.records):
                assert not self._over, f"portside ended\n{self.stderr}\n{self.records}"
                self._arrived = trio.Event()
                await self._arrived.wait()
            return
        raise AssertionError(f"not seen within {timeout} s\nstderr: {self.stderr}\nrecords: {self.records[-20:]}")

    async def ready(self, name: str, timeout: float = 60, **fields: Any) -> Record:
        """The forward of resource `name`, once its last word is `ready`."""

        def is_ready(records: list[Record]) -> bool:
            return (self.last(name, **fields) or {}).get("state") == "ready"

        await self.wait_for(is_ready, timeout)
        found = self.last(name, **fields)
        assert found is not None
        return found

    def last(self, name: str, **fields: Any) -> Record | None:
        """The last word on the forward of resource `name` (and these fields)."""
        wanted = {"kind": "forward", "resourceName": name, **fields}
        matching = [r for r in self.records if wanted.items() <= r.items()]
        return matching[-1] if matching else None

    async def end(self, number: int = signal.SIGINT, timeout: float = 10) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return await self.wait(timeout)

    async def wait(self, timeout: float = 60) -> int:
        with trio.fail_after(timeout):
            return await self.process.wait()

    async def read_stdout(self) -> None:
        kept = b""
        assert self.process.stdout is not None
        async for data in self.process.stdout:
            *lines, kept = (kept + data).split(b"\n")
            # A child Skaffold writes to the same stdout; our lines are those that are our JSON.
            self.records += [json.loads(line) for line in lines if line.startswith(b'{"kind":')]
            self._arrived.set()
        self._over = True
        self._arrived.set()

    async def read_stderr(self) -> None:
        assert self.process.stderr is not None
        async for data in self.process.stderr:
            self.stderr += data.decode(errors="replace")


@asynccontextmanager
async def portside(
    *arguments: str, environment: Mapping[str, str] = os.environ, folder: Path | None = None, output: str = "json"
) -> AsyncIterator[Portside]:
    """Start `portside ARGUMENTS…`; killed at the end unless it ended before."""
    command: Sequence[str] = (PORTSIDE, arguments[0], f"--output={output}", *arguments[1:])
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(environment), cwd=folder
    )
    running = Portside(process)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.read_stdout)
        nursery.start_soon(running.read_stderr)
        try:
            yield running
        finally:
            if process.returncode is None:
                process.kill()
            with trio.CancelScope(shield=True), trio.move_on_after(5):
                await process.wait()
            nursery.cancel_scope.cancel()
