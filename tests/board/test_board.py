"""The board: what is true now, and readers of any speed."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.board.made import forward, plan, skaffold, skip
from watcher.board.board import MAX_OVER, Board, key

STATES = ("waiting", "listening", "ready", "failed", "stopped")


async def test_a_new_reader_gets_what_is_true_now() -> None:
    """Skaffold first, then forwards and skips; what has stopped is gone."""
    board = Board()
    for record in (forward("a", "waiting"), skip(), forward("b"), skaffold(), forward("a"), forward("b", "stopped")):
        board.publish(record)
    assert await board.subscribe().next() == [skaffold(), forward("a"), skip()]


async def test_a_reader_that_waits_gets_each_change() -> None:
    """Nothing is held back from a reader that is there."""
    board = Board()
    seen: list[str] = []

    async def read() -> None:
        subscription = board.subscribe()
        reading.set()
        while len(seen) < 3:
            seen.extend(getattr(record, "state", "") for record in await subscription.next())

    reading = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await reading.wait()
        for state in STATES[:3]:
            board.publish(forward(state=state))
            await trio.testing.wait_all_tasks_blocked()
    assert seen == list(STATES[:3])


async def test_a_reader_that_falls_behind_gets_the_newest_of_each() -> None:
    """A thousand changes of two forwards are two records, in the order of their last change."""
    board = Board()
    subscription = board.subscribe()
    for number in range(1000):
        board.publish(forward("a", reason=str(number)))
        board.publish(forward("b", reason=str(number)))
    board.publish(forward("a", "failed"))
    assert await subscription.next() == [forward("b", reason="999"), forward("a", "failed")]


async def test_what_a_stuck_reader_holds_is_bounded() -> None:
    """Forwards that come and go for ever do not pile up; what stands is told in full."""
    board = Board()
    subscription = board.subscribe()
    for number in range(2 * MAX_OVER):
        board.publish(forward(f"web-{number}"))
        board.publish(forward(f"web-{number}", "stopped"))
    board.publish(forward("stays"))
    records = await subscription.next()
    assert len(records) == MAX_OVER + 1
    assert records[-1] == forward("stays")
    assert records[-2] == forward(f"web-{2 * MAX_OVER - 1}", "stopped")


@given(
    st.lists(st.one_of(st.none(), st.tuples(st.sampled_from("abc"), st.sampled_from(STATES))), max_size=40),
)
def test_whenever_a_reader_looks_it_ends_up_with_the_truth(steps: list[tuple[str, str] | None]) -> None:
    """However changes and looks alternate (None is a look), the last word on each forward is the true one."""
    board = Board()
    subscription = board.subscribe()
    told: dict[str, str] = {}
    truth: dict[str, str] = {}

    async def look() -> None:
        board.publish(skaffold())  # so that there is something to wait for
        for record in await subscription.next():
            told[key(record)] = getattr(record, "state", "")

    for step in (*steps, None):
        if step is None:
            trio.run(look)
        else:
            board.publish(forward(*step))
            truth[key(forward(*step))] = step[1]
    assert told == truth | {key(skaffold()): ""}
    standing = {ident for ident, state in truth.items() if state != "stopped"}
    assert board.forwards.keys() == standing


async def test_the_end_is_told_after_everything_else() -> None:
    """What was pending when the board closed is still handed out."""
    board = Board()
    subscription = board.subscribe()
    board.publish(forward())
    board.close()
    assert await subscription.next() == [forward()]
    with pytest.raises(trio.EndOfChannel):
        await subscription.next()


def test_ready_means_settled_and_every_forward_ready() -> None:
    """`failed` is not ready; nothing to forward is ready once that is known for certain."""
    board = Board()
    seen = [board.ready]
    board.publish(plan())
    seen.append(board.ready)
    board.publish(forward("a"))
    board.publish(forward("b", "failed"))
    seen.append(board.ready)
    assert board.not_ready == [forward("b", "failed")]
    board.publish(forward("b", "stopped"))
    assert [*seen, board.ready] == [False, True, False, True]


def test_a_forward_and_a_skip_of_one_id_replace_each_other() -> None:
    """A thing is forwarded or it is not."""
    board = Board()
    board.publish(skip())
    board.publish(forward(id=skip().id))
    assert not board.skips
    board.publish(forward(id=skip().id, state="stopped"))
    board.publish(skip())
    assert board.skips.keys() == {skip().id}
    board.publish(skip(over=True))
    assert not board.skips
    assert not board.forwards
