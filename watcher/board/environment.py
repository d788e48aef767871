"""Names forwards in environment variables for --exec, and writes them to the file of --env-file.

A forward gives WEB_8080_URL, WEB_8080_HOST and WEB_8080_PORT. With a gateway, WEB_URL is the URL that the bare name web
has there. A forward keeps its names as long as it is wanted. Values need no quotes in any shell. A variable that the
user has is never overwritten, and names that other programs read as settings are never used.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain, count
from pathlib import Path

import trio
from msgspec import Struct

from forwarders.system.files import write_whole_file
from watcher import user_files
from watcher.board.board import Board
from watcher.board.records import ForwardRecord
from watcher.errors import UsageError

logger = logging.getLogger("portside.board")

HEADER = "# The forwards of portside. This file is rewritten at every change.\n"

_OTHER = r"[^A-Z0-9_]"
# Names in a cluster must not change settings of the programs that the user starts, such as a package index or an API
# server. Names with a port number and full names are safe: no program reads those.
_SETTINGS = r"(AWS|AZURE|CARGO|DOCKER|GIT|GOOGLE|KUBERNETES|NPM|PIP|PORTSIDE|SKAFFOLD|UV|YARN)_.*"
_NUMBERED = r".*_\d+_(URL|HOST|PORT)"


class ForwardTarget(Struct, frozen=True, order=True):
    """What a forward forwards to, at whatever local address. `context` is "" for the default one.

    If several new targets have the same short name, the first in this order gets it.
    """

    no_service: bool
    namespace: str
    resource_type: str
    name: str
    container: str
    port: str
    context: str

    @property
    def short(self) -> str:
        return _identifier(self.name, self.port)

    @property
    def full(self) -> str:
        context = (self.context,) if self.context else ()
        return _identifier(*context, self.namespace, self.resource_type, self.name, self.port)


class Variables:
    """Assigns names: each target has its full one (DEFAULT_SERVICE_WEB_8080), and the short one if that is free.

    `taken`: names of the user's own variables. `context`: the default kube-context; full names in another context
    begin with that context.
    """

    def __init__(self, taken: Collection[str] = (), context: str = "") -> None:
        self._taken = frozenset(taken)
        self._context = context
        self._holders: dict[str, ForwardTarget] = {}
        self._warned: set[str] = set()

    def of(self, forwards: Iterable[ForwardRecord]) -> dict[str, str]:
        """The sorted variables of the forwards that have a local port. Call it at every change with all wanted ones."""
        wanted = _by_target(forwards, self._context)
        self._holders = {name: target for name, target in self._holders.items() if target in wanted}
        for target in sorted(wanted):
            # With a number if another target has the name: few full names collide (a-b and a.b).
            names = chain([target.full], (f"{target.full}_{number}" for number in count(2)))
            next(name for name in names if self._holders.setdefault(name, target) == target)
        for target in sorted(wanted):
            self._holders.setdefault(target.short, target)
        values = {target: record for target, records in wanted.items() if (record := _first_bound(records))}
        variables = _gateway_variables(values.values())
        for name, target in self._holders.items():
            if target in values:
                variables.update(_values(name, values[target]))
        full = tuple(f"{target.full}_" for target in values)
        return {name: value for name, value in sorted(variables.items()) if self._may_be_set(name, value, full)}

    def _may_be_set(self, name: str, value: str, full: tuple[str, ...]) -> bool:
        reason = ""
        if name in self._taken:
            reason = "your environment has it already"
        elif re.fullmatch(_SETTINGS, name) and not (re.fullmatch(_NUMBERED, name) or name.startswith(full)):
            reason = "other programs read such names as settings"
        if reason and name not in self._warned:
            self._warned.add(name)
            logger.warning("the variable %s (%s) is left out: %s", name, value, reason)
        return not reason


def env_lines(variables: Mapping[str, str]) -> str:
    """NAME=VALUE, one a line: the format that `. FILE` in sh and `docker run --env-file` both read."""
    return "".join(f"{name}={value}\n" for name, value in variables.items())


def _by_target(forwards: Iterable[ForwardRecord], default: str) -> dict[ForwardTarget, list[ForwardRecord]]:
    wanted: dict[ForwardTarget, list[ForwardRecord]] = {}
    for record in forwards:
        resource_type = record.resource_type.lower()
        target = ForwardTarget(
            resource_type != "service",
            record.namespace,
            resource_type,
            record.resource_name,
            record.container,
            str(record.remote_port),
            "" if record.context == default else record.context,
        )
        wanted.setdefault(target, []).append(record)
    return wanted


def _first_bound(records: list[ForwardRecord]) -> ForwardRecord | None:
    """The forward whose address the variables get: that at 127.0.0.1, else the first in alphabetical order."""
    bound = [record for record in records if record.url]
    return min(bound, key=lambda r: (r.local_address != "127.0.0.1", r.local_address, r.id), default=None)


def _values(name: str, record: ForwardRecord) -> Iterator[tuple[str, str]]:
    yield f"{name}_HOST", record.local_address
    yield f"{name}_PORT", str(record.local_port)
    yield f"{name}_URL", record.url


def _gateway_variables(records: Iterable[ForwardRecord]) -> dict[str, str]:
    """NAME_URL for bare names at the gateway, unless two share a spelling (a-b and a_b)."""
    urls: dict[str, set[str]] = {}
    for record in records:
        if record.gateway.startswith(f"http://{record.resource_name}.") and record.gateway.count(".") == 1:
            urls.setdefault(f"{_identifier(record.resource_name)}_URL", set()).add(record.gateway)
    return {name: same.pop() for name, same in urls.items() if len(same) == 1}


def _identifier(*words: str) -> str:
    name = re.sub(_OTHER, "_", "_".join(word for word in words if word).upper())
    return f"_{name}" if name[:1].isdigit() else name


class EnvFile:
    """The file of --env-file. It is always complete and up to date; at the end it has no variables.

    Raises UsageError if the file cannot be written or if portside did not write what it holds.
    """

    def __init__(self, path: str, variables: Variables) -> None:
        try:
            self._path = Path(path).resolve()  # a link stays; its target is written
        except (OSError, RuntimeError):  # the latter before Python 3.13
            raise UsageError(f"--env-file {path} is a link to itself") from None
        self._variables = variables
        self._check()
        self._written = HEADER
        try:
            write_whole_file(self._path, HEADER)
        except OSError as error:
            raise UsageError(f"--env-file {path} cannot be written: {error.strerror}") from None

    async def run(self, board: Board) -> None:
        """Writes the file after every change, until the board closes."""
        async with board.subscribe() as changes:
            async for _ in changes:
                await self._rewrite(board)

    async def _rewrite(self, board: Board) -> None:
        content = HEADER + env_lines(self._variables.of(board.forwards.values()))
        if content == self._written:
            return
        try:
            await trio.to_thread.run_sync(write_whole_file, self._path, content)
        except OSError as error:
            logger.warning("--env-file %s cannot be written, and is out of date: %s", self._path, error.strerror)
            self._written = ""  # write it again at the next change
        else:
            self._written = content

    def _check(self) -> None:
        try:
            start = user_files.read_start(self._path, len(HEADER))
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(f"--env-file {self._path} cannot be used: {error.strerror}") from None
        header = HEADER.encode()
        if start not in {header, header.replace(b"\n", b"\r"), b""} or os.path.samefile(self._path, os.devnull):
            raise UsageError(f"--env-file {self._path} was not written by portside; choose another file")
