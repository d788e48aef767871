"""Owns the running of checks: all at once, each with its deadline, each failing alone, their findings in one order.

Refuses to know what any of them looks at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

import trio
from msgspec import Struct
from msgspec.structs import replace

from watcher.doctor.findings import Finding, NotCheckedError, error, note
from watcher.errors import WatcherError

T = TypeVar("T")


class Check(Struct, frozen=True):
    """`seconds` is its deadline, what other checks find out for it not counted twice."""

    name: str
    run: Callable[[], Awaitable[Iterable[Finding]]]
    seconds: float


class Once(Generic[T]):
    """A value that several checks stand on: found by the first that asks, within `seconds`; the others wait for it.

    Its failure is the first one's to report; the others get NotCheckedError.
    """

    def __init__(self, find: Callable[[], Awaitable[T]], what: str, seconds: float) -> None:
        self._find = find
        self._what = what
        self._seconds = seconds
        self._lock = trio.Lock()
        self._found: list[T] = []
        self._problem: WatcherError | None = None

    async def __call__(self) -> T:
        """For the check that speaks of it. Raises WatcherError."""
        async with self._lock:
            if not self._found and self._problem is None:
                await self._look()
            if self._problem is not None:
                raise self._problem
            return self._found[0]

    async def given(self) -> T:
        """For the other checks. Raises NotCheckedError."""
        try:
            return await self()
        except WatcherError as problem:
            raise NotCheckedError(f"not checked: {self._what} is needed for it") from problem

    async def _look(self) -> None:
        try:
            with trio.fail_after(self._seconds):
                self._found.append(await self._find())
        except trio.TooSlowError:
            self._problem = WatcherError(f"{self._what}: no answer within {self._seconds:.0f} s")
        except WatcherError as problem:
            self._problem = problem


async def examine(checks: Sequence[Check]) -> tuple[Finding, ...]:
    """What all of them found, in the order of `checks`."""
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
        return [
            error(f"no answer within {check.seconds:.0f} s", "try again; whatever hangs here will keep portside too")
        ]
    except NotCheckedError as reason:
        return [note(str(reason))]
    except WatcherError as problem:
        return [error(str(problem), "")]
    except Exception as mistake:  # noqa: BLE001 - the others are to be heard all the same
        said = f"{type(mistake).__name__}: {mistake}"
        return [error(f"this check itself failed: {said}", "please report it, with this line")]
