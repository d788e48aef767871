"""Attempts to connect beside one another: one is taken, and none of the others stays open."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from forwarders.transports.connecting import ATTEMPT_EVERY, ATTEMPT_LIFE, first_connected


class Made:
    """A connection; `closed` says whether it was given back."""

    def __init__(self) -> None:
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


class Connecting:
    """Each attempt's connection stands after the seconds of `takes`, the last of them for all further ones."""

    def __init__(self, *takes: float) -> None:
        self.takes = list(takes)
        self.made: list[Made] = []
        self.begun = 0

    async def __call__(self) -> Made:
        takes = self.takes[min(self.begun, len(self.takes) - 1)]
        self.begun += 1
        with trio.CancelScope(shield=True):  # as a connect that has succeeded in the very moment of its cancellation
            await trio.sleep(takes)
        self.made.append(Made())
        return self.made[-1]


@pytest.mark.parametrize("takes", [(0.7, 0.2), (0.7, 0.2, 0.1), (1.1, 0.6, 0.1), (2.0, 1.5, 1.0, 0.5)])
async def test_those_that_lost_are_closed(autojump_clock: MockClock, takes: tuple[float, ...]) -> None:
    """However many stand in the same moment, one is given and the others' sockets do not leak."""
    connecting = Connecting(*takes)
    given = await first_connected(connecting, OSError)
    assert [one for one in connecting.made if not one.closed] == [given]
    assert len(connecting.made) > 1


@pytest.mark.parametrize("takes", [(1.0,), (1.4, 0.9), (0.89, 10.0)])
async def test_nothing_stays_open_for_a_caller_that_has_left(
    autojump_clock: MockClock, takes: tuple[float, ...]
) -> None:
    """Cancelled in the moment in which a connection stands: it is given all the same, or closed."""
    connecting, given = Connecting(*takes), None
    with trio.move_on_after(0.9):
        given = await first_connected(connecting, OSError)
    assert connecting.made
    assert all(one.closed or one is given for one in connecting.made)


async def test_silence_is_answered_by_another_attempt(autojump_clock: MockClock) -> None:
    """The first one hangs: the second is begun soon, and none outlives its own end."""
    began = trio.current_time()
    beginnings: list[float] = []

    async def connect() -> Made:
        beginnings.append(trio.current_time() - began)
        await trio.sleep(1000 if len(beginnings) == 1 else 0.01)
        return Made()

    await first_connected(connect, OSError)
    assert beginnings == pytest.approx([0.0, ATTEMPT_EVERY])
    assert trio.current_time() - began < ATTEMPT_LIFE


async def test_a_failure_is_an_answer(autojump_clock: MockClock) -> None:
    """A refusal is raised at once, not tried again."""

    async def connect() -> Made:
        await trio.sleep(0.1)
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        await first_connected(connect, OSError)
