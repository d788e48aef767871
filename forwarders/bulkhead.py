"""Contains exceptions that nobody foresaw, so that a bug ends no more than the task it is in.

docs/design/bulkheads.md lists where it is used. Cancelled, KeyboardInterrupt and SystemExit pass through, also out of
a group.
"""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import trio

# Seconds between a failure and the next start: a bug that repeats must not fill the log.
FIRST_PAUSE, LAST_PAUSE = 0.1, 30.0
# A task that ran this long worked: its next failure counts as the first.
STEADY = 60.0
# Of an exception's own text: it may quote what came from outside.
LONGEST_TEXT = 300


def cause_of(error: BaseException) -> str:
    """Kind, text and place of an exception, of each one in a group: one line for the log."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(cause_of(one) for one in error.exceptions))
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())[:LONGEST_TEXT]
    return f"{type(error).__name__}{text and f': {text}'}{place}"


def report(logger: logging.Logger, what: str, error: BaseException) -> None:
    """One line that names `what` failed and why. The traceback follows for those who debug (-vv), a line each."""
    logger.error("%s: %s", what, cause_of(error))
    for line in "".join(traceback.format_exception(error)).splitlines():
        logger.debug("%s", line)


@contextlib.contextmanager
def contained(
    logger: logging.Logger, what: str, on_failure: Callable[[str], None] = lambda cause: None
) -> Iterator[None]:
    """Reports an exception of the block, and goes on behind it. `on_failure` gets its cause."""
    try:
        yield
    except* Exception as group:  # noqa: BLE001 - containing whatever it is is what this is for
        report(logger, f"{what} failed by a bug of portside's", group)
        on_failure(cause_of(group))


async def kept(
    logger: logging.Logger,
    what: str,
    task: Callable[[], Awaitable[object]],
    on_failure: Callable[[str], None] = lambda cause: None,
) -> None:
    """Runs `task` until it returns; after an exception it is reported and started again, after a pause that grows."""
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
