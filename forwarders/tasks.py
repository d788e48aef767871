"""Tools for tasks: wake them (`Notifier`), start them from callbacks (`Tasks`), limit how many go on in one
batch of the event loop (`Batches`), contain and restart those that fail.

docs/design/bulkheads.md lists where exceptions are contained. Cancelled, KeyboardInterrupt and SystemExit pass
through, also out of a group.
"""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Never, Self, TypeVarTuple

import trio

from forwarders.system.files import boot_clock

Args = TypeVarTuple("Args")

# Seconds between a failure and the restart: a bug that repeats must not fill the log.
FIRST_PAUSE, LAST_PAUSE = 0.1, 30.0
# A task that ran this long worked: its next failure counts as the first.
STEADY = 60.0
# Characters of an exception's own text in the log: it may quote foreign input.
LONGEST_TEXT = 300
# Seconds between two looks of `watch_sleep`: a suspended machine is noticed this soon after it runs again.
TICK = 2.0
# A tick that took this many seconds longer was no scheduling delay.
ASLEEP = 3.0


class Notifier:
    """A condition without a lock: `fire` wakes all tasks that wait now. Check your condition, then wait.

    A trio.lowlevel.ParkingLot without its bookkeeping: every connection has several, most fire with nobody waiting.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[trio.lowlevel.Task, None] | None = None  # in the order of their arrival

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


class Tasks:
    """Starts tasks in a nursery for callbacks, which run in other tasks and may come after the nursery's end.

    `nursery.start_soon` raises RuntimeError in the callback's task once the nursery has closed, so every nursery that
    is stored is stored as `Tasks`. `with Tasks(nursery) as tasks:` is the whole body of the nursery's own block.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True

    def start(self, task: Callable[[*Args], Awaitable[object]], *args: *Args) -> bool:
        """Start `task` soon. After the block's end, start nothing and return False."""
        if not self.over:
            self._nursery.start_soon(task, *args)
        return not self.over

    def cancel(self) -> None:
        """Cancel all tasks, and the block."""
        self._nursery.cancel_scope.cancel()


class Batches:
    """Spreads tasks that wake in the same moment over several batches of the event loop.

    trio runs all tasks that can run before it looks at sockets and deadlines again. 1,600 clients that leave together
    would keep everybody else waiting for 0.1 s. `at_once`: how many go on in one batch: some milliseconds of steps.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = self._left = at_once
        self._waiting = trio.lowlevel.ParkingLot()
        self._pacing = False  # whether one caller waits for the next batch, for all others

    async def turn(self) -> None:
        """Go on with at most `at_once` - 1 others in one batch. May change the callers' order, and seldom waits."""
        if self._left and not self._waiting:
            self._left -= 1
            return
        if self._pacing:
            await self._waiting.park()
            if not self._lacks_pacer:
                return
        self._pacing = True
        try:
            await trio.lowlevel.checkpoint()
        finally:
            self._pacing = False
            others = self._at_once - 1
            self._left = others - len(self._waiting.unpark(count=others))

    @property
    def _lacks_pacer(self) -> bool:
        return bool(self._waiting) and not self._pacing


# For all forwards: no task stays parked in them after trio.run. A connection's step takes 0.1 ms, a TLS handshake
# 2 ms, a session that reads, is closed or is lost 0.3 ms, with its five connections.
connection_turns, session_turns, handshake_turns = Batches(at_once=32), Batches(at_once=16), Batches(at_once=2)


def cause_of(error: BaseException) -> str:
    """Describe an exception, or each one in a group, in one line for the log: its kind, text and place."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(cause_of(one) for one in error.exceptions))
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())[:LONGEST_TEXT]
    return f"{type(error).__name__}{text and f': {text}'}{place}"


def report(logger: logging.Logger, what: str, error: BaseException) -> None:
    """Log one line that names `what` failed and why. The traceback follows at debug level (-vv)."""
    logger.error("%s: %s", what, cause_of(error))
    for line in "".join(traceback.format_exception(error)).splitlines():
        logger.debug("%s", line)


@contextlib.contextmanager
def contained(
    logger: logging.Logger, what: str, on_failure: Callable[[str], None] = lambda cause: None
) -> Iterator[None]:
    """Reports an exception of the block and continues after it. `on_failure` gets the cause."""
    try:
        yield
    except* Exception as group:  # noqa: BLE001 - containing any exception is what this is for
        report(logger, f"{what} failed by a bug of portside's", group)
        on_failure(cause_of(group))


async def kept(
    logger: logging.Logger,
    what: str,
    task: Callable[[], Awaitable[object]],
    on_failure: Callable[[str], None] = lambda cause: None,
) -> None:
    """Runs `task` until it returns. Reports each exception and restarts the task, after a pause that grows."""
    pause = FIRST_PAUSE
    while True:
        began = trio.current_time()
        try:
            await task()
        except* Exception as group:  # noqa: BLE001 - as above
            if trio.current_time() - began >= STEADY:
                pause = FIRST_PAUSE
            report(logger, f"{what} failed by a bug of portside's and starts again in {pause:g} s", group)
            on_failure(cause_of(group))
        else:
            return
        await trio.sleep(pause)
        pause = min(2 * pause, LAST_PAUSE)


async def watch_sleep(on_wake: Callable[[], None], wall: Callable[[], float] = boot_clock) -> Never:
    """Calls `on_wake` each time this process did not run for a while: laptop sleep, SIGSTOP, a paused machine.

    trio's own clock stands still while a machine is suspended. Connections may have died meanwhile, and time-outs did
    not count, so the callback should check everything at once.
    """
    while True:
        wall_before, before = wall(), trio.current_time()
        await trio.sleep(TICK)
        if max(wall() - wall_before, trio.current_time() - before) > TICK + ASLEEP:
            on_wake()
