"""What contains a bug: whatever is raised is one line with its cause, and what it was raised in begins again."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from forwarders.tasks import FIRST_PAUSE, LAST_PAUSE, STEADY, Tasks, cause_of, contained, kept
from tests.bulkheads.faults import FAULTS, Nested

logger = logging.getLogger("portside.test")


class Failing:
    """A task that raises what it is given, one after the other, and then works."""

    def __init__(self, *errors: BaseException, lives: float = 0.0) -> None:
        self.errors = list(errors)
        self.lives = lives
        self.begun: list[float] = []

    async def __call__(self) -> None:
        self.begun.append(trio.current_time())
        await trio.sleep(self.lives)
        if self.errors:
            raise self.errors.pop(0)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_a_task_that_fails_begins_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    """Whatever it raises: one line names it and the cause, `on_failure` gets the cause, and it works the next time."""
    told: list[str] = []
    task = Failing(fault)
    await kept(logger, "the task", task, told.append)
    assert len(task.begun) == 2
    [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.startswith("the task failed by a bug of portside's")
    assert "\n" not in line
    assert len(told) == 1
    assert told[0] in line


async def test_the_pause_grows_and_ends(autojump_clock: MockClock) -> None:
    """A bug that repeats costs two lines a minute; after a good while the first pause counts again."""
    task = Failing(*[ValueError() for _ in range(14)])
    await kept(logger, "the task", task)
    pauses = [after - before for before, after in zip(task.begun, task.begun[1:], strict=False)]
    assert pauses[0] == pytest.approx(FIRST_PAUSE)
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(LAST_PAUSE)
    steady = Failing(*[ValueError() for _ in range(5)], lives=STEADY)
    await kept(logger, "the task", steady)
    assert steady.begun[-1] - steady.begun[0] == pytest.approx(5 * (STEADY + FIRST_PAUSE))


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
async def test_the_end_of_the_program_passes(end: type[BaseException]) -> None:
    """Alone, or beside a bug in one group."""
    with pytest.raises(end):
        await kept(logger, "the task", Failing(end()))
    with pytest.raises(BaseExceptionGroup) as caught:
        await kept(logger, "the task", Failing(BaseExceptionGroup("both", [end(), ValueError("bug")])))
    assert caught.value.subgroup(end) is not None
    assert caught.value.subgroup(ValueError) is None


async def test_cancellation_passes(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """Also out of a group where a task raised something else on its way out: that is reported, nothing restarts."""
    begun = 0

    async def bad_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("on the way out")

    async def task() -> None:
        nonlocal begun
        begun += 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bad_end)
            nursery.start_soon(trio.sleep_forever)

    with trio.move_on_after(1) as scope:
        await kept(logger, "the task", task)
    assert scope.cancelled_caught
    assert begun == 1
    assert "on the way out" in caplog.text


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_block_that_fails(caplog: pytest.LogCaptureFixture, fault: Exception) -> None:
    """It is left, and what follows goes on."""
    told: list[str] = []

    def fail() -> None:
        raise fault

    with contained(logger, "the block", told.append):
        fail()
    assert told == [cause_of(ExceptionGroup("", [fault]))]
    [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line == f"the block failed by a bug of portside's: {told[0]}"


def test_a_cause_is_short_and_says_where() -> None:
    """One line, however long or odd the text of the exception is; every leaf of a group, each once."""
    with pytest.raises(ValueError, match="a") as caught:
        raise ValueError("a\nb" * 1000)
    cause = cause_of(caught.value)
    assert len(cause) < 400
    assert "\n" not in cause
    assert "(test_bulkhead.py:" in cause
    assert cause_of(Nested) == "KeyError: 'a'; RuntimeError: b; OSError: c"


async def test_a_callback_behind_the_end() -> None:
    """Tasks are started while the block runs; behind it nothing is, and nothing raises."""
    done: list[int] = []

    async def work(number: int) -> None:
        await trio.lowlevel.checkpoint()
        done.append(number)

    async with trio.open_nursery() as nursery:
        with Tasks(nursery) as tasks:
            assert tasks.start(work, 1)
    assert not tasks.start(work, 2)
    assert done == [1]


async def test_tasks_are_cancelled_with_their_block() -> None:
    """`Tasks.cancel` cancels the tasks and the block that they belong to."""
    calls: list[Callable[[], None]] = []
    async with trio.open_nursery() as nursery:
        with Tasks(nursery) as tasks:
            tasks.start(trio.sleep_forever)
            calls.append(tasks.cancel)
            calls[0]()
            await trio.Event().wait()
    assert nursery.cancel_scope.cancelled_caught
