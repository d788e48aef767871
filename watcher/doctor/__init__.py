"""The checks of `portside doctor`: each is a function that looks at one thing and returns findings.

This module defines checks and findings, and runs all checks at once: each has its own deadline and fails alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, Literal, TypeVar

import trio
from msgspec import Struct
from msgspec.structs import replace

from watcher.errors import WatcherError

T = TypeVar("T")

# From best to worst. An error keeps portside from working.
Level = Literal["ok", "note", "warning", "error"]


class Finding(Struct, frozen=True, kw_only=True, tag_field="kind", tag="finding"):
    """One result of a check; also a line of JSON. `examine` sets `check`. An empty `remedy`: nothing to do."""

    check: str = ""
    level: Level
    found: str
    remedy: str = ""


class Check(Struct, frozen=True):
    """A check and its deadline in seconds."""

    name: str
    run: Callable[[], Awaitable[Iterable[Finding]]]
    seconds: float


class NotCheckedError(WatcherError):
    """A check needs something that failed or does not apply; the message says what."""


def ok(found: str) -> Finding:
    return Finding(level="ok", found=found)


def note(found: str, remedy: str = "") -> Finding:
    return Finding(level="note", found=found, remedy=remedy)


def warning(found: str, remedy: str) -> Finding:
    return Finding(level="warning", found=found, remedy=remedy)


def error(found: str, remedy: str) -> Finding:
    return Finding(level="error", found=found, remedy=remedy)


def failed(findings: Iterable[Finding]) -> bool:
    """Whether at least one finding is an error."""
    return any(finding.level == "error" for finding in findings)


class Prerequisite(Generic[T]):
    """A value that several checks need. The first check computes it, within `seconds`; the others wait for it.

    One check reports its failure; the others call `given` and report that they were not made.
    """

    def __init__(self, find: Callable[[], Awaitable[T]], what: str, seconds: float) -> None:
        self._find = find
        self._what = what
        self._seconds = seconds
        self._lock = trio.Lock()
        self._found: list[T] = []
        self._problem: WatcherError | None = None

    async def __call__(self) -> T:
        """The value, for the check that reports a failure. Raises WatcherError."""
        async with self._lock:
            if not self._found and self._problem is None:
                try:
                    with trio.fail_after(self._seconds):
                        self._found.append(await self._find())
                except trio.TooSlowError:
                    self._problem = WatcherError(f"{self._what}: no answer within {self._seconds:.0f} s")
                except WatcherError as problem:
                    self._problem = problem
            if self._problem is not None:
                raise self._problem
            return self._found[0]

    async def given(self) -> T:
        """The value, for the other checks. Raises NotCheckedError."""
        try:
            return await self()
        except WatcherError as problem:
            raise NotCheckedError(f"not checked: {self._what} is needed for it") from problem


async def examine(checks: Sequence[Check]) -> tuple[Finding, ...]:
    """Runs all checks at once; returns their findings in the order of `checks`."""
    found: list[tuple[Finding, ...]] = [()] * len(checks)

    async def keep(place: int, check: Check) -> None:
        found[place] = tuple(replace(finding, check=check.name) for finding in await _run(check))

    async with trio.open_nursery() as nursery:
        for place, check in enumerate(checks):
            nursery.start_soon(keep, place, check)
    return tuple(finding for findings in found for finding in findings)


async def _run(check: Check) -> Iterable[Finding]:
    try:
        with trio.fail_after(check.seconds):
            return tuple(await check.run())
    except trio.TooSlowError:
        return [error(f"no answer within {check.seconds:.0f} s", "try again; portside will wait for the same thing")]
    except NotCheckedError as reason:
        return [note(str(reason))]
    except WatcherError as problem:
        return [error(str(problem), "")]
    except Exception as mistake:  # noqa: BLE001 - a bug in one check must not hide the findings of the others
        said = f"{type(mistake).__name__}: {mistake}"
        return [error(f"this check itself failed: {said}", "please report it, with this line")]
