"""Runs something, and calls back if it is still running after a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")


async def call_if_slow(seconds: float, act: Callable[[], None], work: Callable[[], Awaitable[T]]) -> T:
    """What `work` returns or raises, never in a group; `act` is called once `work` has run for so many seconds."""
    results: list[T] = []
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_act_after, seconds, act)
        try:
            results.append(await work())
        except Exception as error:  # noqa: BLE001 - raised again below, outside the nursery
            failures.append(error)
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]
    return results[0]


async def _act_after(seconds: float, act: Callable[[], None]) -> None:
    await trio.sleep(seconds)
    act()
