"""Starts tasks in a nursery on behalf of callbacks, which run in other tasks and may come after the nursery's end.

A callback that calls `nursery.start_soon` itself raises RuntimeError there once the nursery has closed, in a task that
has nothing to do with it. Every nursery that is kept for later is kept as `Tasks`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVarTuple

import trio

Args = TypeVarTuple("Args")


class Tasks:
    """`with Tasks(nursery) as tasks:` is the whole body of the nursery's own block: behind it nothing is started."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self.over = True

    def start(self, task: Callable[[*Args], Awaitable[object]], *args: *Args) -> bool:
        """Start `task` soon; False, and nothing, where the block has ended: the task would be cancelled at once."""
        if not self.over:
            self._nursery.start_soon(task, *args)
        return not self.over

    def cancel(self) -> None:
        """Cancel them all, and the block."""
        self._nursery.cancel_scope.cancel()
