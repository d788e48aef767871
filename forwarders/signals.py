"""Owns the smallest notification: wait for the next change. Refuses values: look at the state itself after waking."""

from __future__ import annotations

import trio


class Signal:
    """`fire` wakes all who wait now. Check your condition, then wait: nothing can come between on one thread.

    A trio.lowlevel.ParkingLot without its bookkeeping: every connection has some, most are fired with nobody waiting.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[trio.lowlevel.Task, None] | None = None  # in the order of their coming

    def fire(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, None
            for task in waiting:
                trio.lowlevel.reschedule(task)

    async def wait(self) -> None:
        task = trio.lowlevel.current_task()
        if self._waiting is None:
            self._waiting = {}
        waiting = self._waiting
        waiting[task] = None

        def abort(_: object) -> trio.lowlevel.Abort:
            del waiting[task]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
