"""Ends a test that exceeds its time limit, names it, and lets the tests after it run.

A test in trio is cancelled, so that its own clean-up ends its children and closes its sockets. If that does not help (a
shielded wait, a test without trio), the exception is raised wherever the main thread is.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
import pytest_timeout
import trio

# Seconds that a cancelled test may take to clean up.
GRACE = 15.0


class _Run:
    """A running test in trio. `where`: what its tasks waited for when its time was over."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.token: trio.lowlevel.TrioToken | None = None
        self.where = ""

    def expire(self) -> bool:
        """Cancels the test. False if it does not run, or was cancelled before."""
        if self.token is None or self.where:
            return False
        self.where = _waiting(trio.lowlevel.current_root_task())
        self.token.run_sync_soon(self.scope.cancel)
        return True


_current = _Run()


def run(test: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
    """trio.run for a test; pytest-trio calls it."""
    global _current  # noqa: PLW0603 - a signal handler has no other way to find the running test
    this = _current = _Run()

    async def cancellable() -> Any:
        this.token = trio.lowlevel.current_trio_token()
        with this.scope:
            return await test(*args)

    try:
        result = trio.run(cancellable, **options)
    except BaseException as error:
        if this.where:
            raise _too_long(this.where) from error
        raise
    finally:
        this.token = None
    if this.where:
        raise _too_long(this.where)
    return result


def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> bool | None:
    """Called by pytest-timeout instead of its own timer. A system without SIGALRM keeps pytest-timeout's own."""
    if settings.method != "signal":
        return None

    def expired(_number: int, _frame: FrameType | None) -> None:
        if pytest_timeout.is_debugging():
            return
        if _current.expire():
            signal.setitimer(signal.ITIMER_REAL, GRACE)
        else:
            pytest_timeout.timeout_sigalrm(item, settings)

    signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, settings.timeout)
    item.cancel_timeout = _cancel  # type: ignore[attr-defined]  # where pytest-timeout looks for it
    return True


@contextmanager
def unlimited() -> Iterator[None]:
    """The block does not count: it builds or starts what all tests share, and has its own limits."""
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)


def _cancel() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _too_long(where: str) -> BaseException:
    return pytest.fail.Exception(
        f"the test ran longer than its time limit and was cancelled; its tasks:\n{where}", pytrace=False
    )


def _waiting(root: trio.lowlevel.Task | None) -> str:
    """A line for each task: its name, and the line of our code where it waits."""
    tasks, lines = [root] if root else [], []
    while tasks:
        task = tasks.pop()
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        frames = [f"{frame.f_code.co_filename}:{line}" for frame, line in task.iter_await_frames()]
        own = [place for place in frames if "site-packages" not in place]
        lines.append(f"  {task.name}: {(own or frames or ['runs'])[-1]}")
    return "\n".join(lines)
