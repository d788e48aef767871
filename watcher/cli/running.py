"""Finds the portsides that run on this machine, this folder's first, and asks one of them at its status address.

A portside that does not answer is reported on stderr and fails nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from watcher.board.runtime import Instance

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

# A local program answers at once, or is in trouble.
TIMEOUT = 5


@dataclass(frozen=True)
class Choice:
    """Which portsides a command is about. None: any."""

    pid: int | None = None
    folder: str | None = None

    @property
    def made(self) -> bool:
        return (self.pid, self.folder) != (None, None)

    def among(self, running: Iterable[Instance]) -> list[Instance]:
        """Those that were chosen."""
        return [one for one in running if self._is_process(one.pid) and self._in_folder(one)]

    def problem(self) -> str:
        """Why nothing can come of waiting; "" where something may."""
        from forwarders.system.processes import start_time

        return f"no process {self.pid} runs" if self.pid is not None and start_time(self.pid) is None else ""

    def none(self, running: Sequence[Instance] = ()) -> str:
        """That none of those chosen runs. `running`: those that were not chosen."""
        if problem := self.problem():
            return problem
        if self.pid is not None:
            return f"process {self.pid} is no portside" + (f" in {self.folder}" if self.folder else "")
        here = f"no portside runs in {self.folder}" if self.folder else "no portside runs here"
        others = ", ".join(f"{one.folder or '(its folder is gone)'} (pid {one.pid})" for one in running)
        return f"{here}; one runs in {others}: choose it by --folder or --pid" if others else here

    def _is_process(self, pid: int) -> bool:
        from forwarders.system.processes import launcher_of

        return self.pid in {None, pid} or self.pid == launcher_of(pid)

    def _in_folder(self, running: Instance) -> bool:
        return self.folder is None or _resolved(running.folder) == Path(self.folder)


def choosing(function: F) -> F:
    """Add --pid and --folder; they arrive as `pid` and `folder`, for Choice."""
    folder = click.Path(exists=True, file_okay=False, resolve_path=True)
    function = click.option("--folder", type=folder, default=None, help="Only portsides started in this folder.")(
        function
    )
    return click.option("--pid", type=click.IntRange(min=1), default=None, metavar="PID", help="Only this portside.")(
        function
    )


def here(running: Iterable[Instance]) -> list[Instance]:
    """This folder's: started in it, or else in the nearest folder above it, below the home folder."""
    by_folder: dict[Path, list[Instance]] = {}
    for one in running:
        by_folder.setdefault(_resolved(one.folder), []).append(one)
    try:
        folder = Path.cwd()
    except OSError:
        return []  # the folder is gone
    nobodys = {Path(folder.anchor), Path(os.path.expanduser("~")).resolve()}
    above = (parent for parent in folder.parents if parent not in nobodys)
    return next((by_folder[one] for one in (folder, *above) if one in by_folder), [])


def running_here(choice: Choice) -> list[Instance]:
    """Those chosen: this folder's first, each group by age; reports on stderr where there is none."""
    from watcher.board.runtime import running_instances

    running = choice.among(running_instances())
    if not running:
        _say(choice.none())
    first = here(running)
    return [*first, *(one for one in running if one not in first)]


def ask(running: Instance, path: str, kind: type[T]) -> T | None:
    """What `path` of its status address holds; None, reported on stderr, where it does not answer so."""
    import httpx
    import msgspec

    try:
        answer = httpx.get(f"{running.url}{path}", headers=running.headers(), timeout=TIMEOUT, trust_env=False)
        answer.raise_for_status()
        return msgspec.json.decode(answer.content, type=kind)
    except (OSError, httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError, RecursionError) as error:
        _say(f"{running.name} does not answer at {running.url}: {error}")
        return None


def heading(running: Instance) -> str:
    """The line above what one portside answers."""
    return f"{running.name}: {running.where}"


def object_line(running: Instance, record: object) -> str:
    """One of its records as a line of JSON, with the process and the folder it comes from."""
    import msgspec

    from watcher.board.lines import json_line

    return json_line({**msgspec.to_builtins(record), "pid": running.pid, "folder": running.folder})


def _say(text: str) -> None:
    from watcher.board.lines import printable

    click.echo(f"portside: {printable(text)}", err=True)


def _resolved(folder: str) -> Path:
    return Path(folder).resolve()
