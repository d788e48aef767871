"""Connects over a path that may swallow SYNs: attempts run beside one another, and the first that succeeds is taken.

The kernel repeats a SYN that was lost after 1, 3 and 7 s; a path that is back is to be used sooner.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import trio

# Another attempt begins after so long, and each has its own end: six are under way at most.
ATTEMPT_EVERY, ATTEMPT_LIFE = 0.5, 3.0


class Closing(Protocol):
    """What has an end: trio's streams, and httpcore's."""

    async def aclose(self) -> None: ...


Stream = TypeVar("Stream", bound=Closing)


async def first_of_many(connect: Callable[[], Awaitable[Stream]], failure: type[Exception]) -> Stream:
    """What `connect` gives, or the first `failure` it raises: only silence is answered by another attempt.

    The deadline is the caller's.
    """
    made: list[Stream] = []
    failures: list[Exception] = []

    async def attempt() -> None:
        with trio.move_on_after(ATTEMPT_LIFE):
            try:
                made.append(await connect())
            except failure as error:
                failures.append(error)
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_again_and_again, nursery, attempt)
    except BaseException:
        await _close(made)
        raise
    await _close(made[1:])
    if not made:
        raise failures[0]
    return made[0]


async def _again_and_again(nursery: trio.Nursery, attempt: Callable[[], Awaitable[None]]) -> None:
    while True:
        nursery.start_soon(attempt)
        await trio.sleep(ATTEMPT_EVERY)


async def _close(streams: list[Stream]) -> None:
    """At once, also where this task is cancelled. Each in a shielded scope: else only the first one would be closed."""
    for stream in streams:
        with trio.CancelScope(shield=True) as scope:
            scope.cancel()
            await stream.aclose()
