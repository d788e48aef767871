"""Finds the portsides that run on this machine, and sends requests to their status addresses."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import httpx
import msgspec

from forwarders.system.processes import launcher_of, start_time
from watcher.board import runtime_files
from watcher.board.http.server import ACTION_HEADER
from watcher.board.lines import json_line
from watcher.board.runtime_files import Instance
from watcher.cli.main import print_error
from watcher.errors import WatcherError

T = TypeVar("T")

# Seconds. A local program answers at once, unless it is in trouble.
TIMEOUT = 5.0


@dataclass(frozen=True)
class InstanceFilter:
    """Selects running portsides by process and folder (--pid, --folder); None matches any."""

    pid: int | None = None
    folder: str | None = None

    def select(self, running: Iterable[Instance]) -> list[Instance]:
        """Returns the running portsides that match."""
        return [one for one in running if self._is_process(one.pid) and self._in_folder(one)]

    def select_or_here(self, running: Sequence[Instance]) -> list[Instance]:
        """Returns those that match; if neither --pid nor --folder is given, those of this folder."""
        return here(running) if (self.pid, self.folder) == (None, None) else self.select(running)

    def no_match(self, running: Sequence[Instance] = ()) -> str:
        """Makes the error message that no portside matches. `running`: others that the user could select."""
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
    """Returns those that were started in this folder, else in the nearest folder above it, below the home folder."""
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
    """Returns the selected portsides, this folder's first, each group by age. Prints an error if there is none."""
    running = instances.select(runtime_files.running_instances())
    if not running:
        print_error(instances.no_match())
    first = here(running)
    return [*first, *(one for one in running if one not in first)]


def request_json(
    running: Instance, path: str, kind: type[T], timeout: float = TIMEOUT, method: Literal["GET", "POST"] = "GET"
) -> T:
    """Sends a request to a portside's status address and decodes the response. Raises WatcherError."""
    try:
        url, headers = f"{running.url}{path}", running.headers() | ({ACTION_HEADER: "1"} if method == "POST" else {})
        response = httpx.request(method, url, headers=headers, timeout=timeout, trust_env=False).raise_for_status()
        return msgspec.json.decode(response.content, type=kind)
    except (OSError, httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError, RecursionError) as error:
        raise WatcherError(f"{running.name} does not answer at {running.url}: {error}") from error


def answers(running: Iterable[Instance], path: str, kind: type[T]) -> Iterator[tuple[Instance, T]]:
    """Sends GET `path` to each portside and yields the responses. Prints an error for one that does not answer."""
    for one in running:
        try:
            yield one, request_json(one, path, kind)
        except WatcherError as error:
            print_error(str(error))


def object_line(running: Instance, record: object) -> str:
    """Encodes a portside's record as a line of JSON, with its process id and folder."""
    return json_line({**msgspec.to_builtins(record), "pid": running.pid, "folder": running.folder})
