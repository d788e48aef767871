"""Finds the portsides that run on this machine, sends requests to their status addresses, and waits for forwards.

Waiting does not poll: it watches the runtime directory, follows each portside's events and the end of its process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click
import httpx
import msgspec
import trio

from forwarders.system.processes import launcher_of, start_time, wait_process_end
from watcher.board import runtime
from watcher.board.board import Board
from watcher.board.lines import REPORT_WAIT_AFTER, json_line, printable
from watcher.board.readiness import ForwardQuery, Readiness, follow_events, readiness
from watcher.board.runtime import Instance
from watcher.errors import WatcherError
from watcher.user_files import until

T = TypeVar("T")
Problems = tuple[str, ...]

# Seconds. A local program answers at once, unless it is in trouble.
TIMEOUT = 5.0


@dataclass(frozen=True)
class InstanceFilter:
    """The portsides that --pid and --folder select. None: any."""

    pid: int | None = None
    folder: str | None = None

    def select(self, running: Iterable[Instance]) -> list[Instance]:
        """Those that match."""
        return [one for one in running if self._is_process(one.pid) and self._in_folder(one)]

    def select_or_here(self, running: Sequence[Instance]) -> list[Instance]:
        """Those that match; without --pid and --folder this folder's."""
        return here(running) if (self.pid, self.folder) == (None, None) else self.select(running)

    def no_match(self, running: Sequence[Instance] = ()) -> str:
        """The message that none matches. `running`: others that could be selected."""
        if self.pid is not None and start_time(self.pid) is None:
            return f"no process {self.pid} runs"
        if self.pid is not None:
            return f"process {self.pid} is not a portside" + (f" in {self.folder}" if self.folder else "")
        message = f"no portside runs in {self.folder}" if self.folder else "no portside runs here"
        others = ", ".join(f"{one.folder or '(its folder is gone)'} (pid {one.pid})" for one in running)
        return f"{message}; one runs in {others}: choose it with --folder or --pid" if others else message

    def _is_process(self, pid: int) -> bool:
        return self.pid in {None, pid} or self.pid == launcher_of(pid)

    def _in_folder(self, running: Instance) -> bool:
        return self.folder is None or _resolved(running.folder) == Path(self.folder)


def here(running: Iterable[Instance]) -> list[Instance]:
    """Those started in this folder, else in the nearest folder above it, below the home folder."""
    by_folder: dict[Path, list[Instance]] = {}
    for one in running:
        by_folder.setdefault(_resolved(one.folder), []).append(one)
    try:
        folder = Path.cwd()
    except OSError:
        return []  # the folder was deleted
    shared = {Path(folder.anchor), Path(os.path.expanduser("~")).resolve()}
    above = (parent for parent in folder.parents if parent not in shared)
    return next((by_folder[one] for one in (folder, *above) if one in by_folder), [])


def _resolved(folder: str) -> Path:
    return Path(folder).resolve()


def running_here(instances: InstanceFilter) -> list[Instance]:
    """The selected ones: this folder's first, each group by age. Prints a line on stderr if there is none."""
    running = instances.select(runtime.running_instances())
    if not running:
        print_error(instances.no_match())
    first = here(running)
    return [*first, *(one for one in running if one not in first)]


def request_json(running: Instance, path: str, kind: type[T], timeout: float = TIMEOUT) -> T:
    """Sends GET `path` to its status address and decodes the response. Raises WatcherError."""
    try:
        url, headers = f"{running.url}{path}", running.headers()
        response = httpx.get(url, headers=headers, timeout=timeout, trust_env=False).raise_for_status()
        return msgspec.json.decode(response.content, type=kind)
    except (OSError, httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError, RecursionError) as error:
        raise WatcherError(f"{running.name} does not answer at {running.url}: {error}") from error


def request_or_print_error(running: Instance, path: str, kind: type[T]) -> T | None:
    """As `request_json`; prints a failure on stderr and returns None."""
    try:
        return request_json(running, path, kind)
    except WatcherError as error:
        print_error(str(error))
        return None


def heading(running: Instance) -> str:
    """The line above the output about one portside."""
    return f"{running.name}: {running.where}"


def object_line(running: Instance, record: object) -> str:
    """A record of a portside as a line of JSON, with its process id and folder."""
    return json_line({**msgspec.to_builtins(record), "pid": running.pid, "folder": running.folder})


def print_error(text: str) -> None:
    click.echo(f"portside: {printable(text)}", err=True)


class ReadinessWait:
    """Waits until `names`, or all forwards, of the selected portsides are ready.

    `report` gets a line for people for each thing that takes long.
    """

    def __init__(self, names: Sequence[ForwardQuery], instances: InstanceFilter, report: Callable[[str], None]) -> None:
        self._names = names
        self._instances = instances
        self._report = report
        self._reported: set[str] = set()
        self._running: list[Instance] = []
        self._boards: dict[Instance, Board] = {}
        self._unreachable: list[Instance] = []
        self._ended: list[Instance] = []
        self._process_ended = False
        self._changed = trio.Event()

    async def run(self, timeout: float) -> Problems:
        """Waits at most `timeout` seconds. Returns () if all is ready, else a line for each thing that is not."""
        outcome = None
        with trio.move_on_after(timeout):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._find, nursery)
                nursery.start_soon(self._report_slow)
                while (outcome := self._outcome()) is None:
                    self._changed = trio.Event()
                    await self._changed.wait()
                nursery.cancel_scope.cancel()
        problems = (f"not ready within {timeout:g} s", *self._missing()) if outcome is None else outcome
        return tuple(problem for problem in problems if problem not in self._reported) or problems[:1]

    def _outcome(self) -> Problems | None:
        """The result of `run`; None while waiting makes sense."""
        now = self._readiness()
        if now is not None and now.ready:
            return ()
        if now is not None and now.hopeless:
            return now.missing
        if self._answering:
            return None
        if self._ended and not self._selected():
            return tuple(f"{one.name} has ended" for one in self._ended)
        return (f"no process {self._instances.pid} runs",) if self._process_ended else None

    @property
    def _answering(self) -> list[Board]:
        """The boards of the selected portsides that still answer."""
        return [self._boards[one] for one in self._selected() if one in self._boards]

    def _readiness(self) -> Readiness | None:
        """None until one portside has a plan; without names, until all have one."""
        planned = [board for board in self._answering if board.planned]
        if not planned or (not self._names and len(planned) < len(self._answering)):
            return None
        return readiness(planned, self._names)

    def _missing(self) -> Problems:
        now = self._readiness()
        if now is not None:
            return now.missing
        silent = tuple(f"{one.name} does not answer" for one in self._selected())
        return silent or (self._instances.no_match(self._running),)

    def _selected(self) -> list[Instance]:
        return self._instances.select_or_here(self._running)

    async def _find(self, nursery: trio.Nursery) -> None:
        if self._instances.pid is not None:
            nursery.start_soon(self._watch_process, self._instances.pid)
        while True:
            self._running = runtime.running_instances()
            for one in self._selected():
                if one not in (*self._boards, *self._unreachable, *self._ended):
                    self._boards[one] = Board()
                    nursery.start_soon(self._follow, one)
            self._touch()
            await _until_others_than(self._running)

    async def _watch_process(self, pid: int) -> None:
        """The process of --pid may end, or have ended, before it became a portside."""
        await wait_process_end(pid)
        self._process_ended = True
        self._touch()

    async def _follow(self, one: Instance) -> None:
        result = self._ended
        board = self._boards[one]
        try:
            await follow_events(one, board, self._touch)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.HTTPStatusError, OSError):
            result = self._unreachable  # it was killed and its process id reused, or we lack its token
        except (httpx.HTTPError, httpx.InvalidURL):
            pass  # the connection closed mid-message, so it ended
        del self._boards[one]
        result.append(one)
        if result is self._ended:
            self._running = [other for other in self._running if other != one]
        self._touch()

    def _touch(self) -> None:
        self._changed.set()

    async def _report_slow(self) -> None:
        """Reports each missing thing once, if it lasts."""
        while True:
            await trio.sleep(REPORT_WAIT_AFTER)
            for line in self._missing():
                if line not in self._reported:
                    self._reported.add(line)
                    self._report(f"waiting: {line}")
            await self._changed.wait()


async def _until_others_than(known: Collection[Instance]) -> None:
    """Returns when the runtime directory lists other portsides than `known`. It does not notice a killed one."""
    folder, before = runtime.directory(), set(known)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await until(lambda: set(runtime.running_instances()) != before, [folder])
    except OSError as error:
        raise WatcherError(f"{folder} cannot be watched for a portside that starts: {error}; start it first") from error
