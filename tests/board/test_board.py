"""The board: what is true now, and readers of any speed."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.board.made import forward, plan, skaffold, skip
from watcher.board.board import Board
from watcher.board.changes import MAX_UNTOLD_ENDS, record_key
from watcher.board.records import ForwardRecord

STATES = ("waiting", "listening", "ready", "failed", "stopped")


async def test_a_new_reader_gets_what_is_true_now() -> None:
    """Skaffold first, then forwards and skips; what has stopped is gone."""
    board = Board()
    for record in (forward("a", "waiting"), skip(), forward("b"), skaffold(), forward("a"), forward("b", "stopped")):
        board.publish(record)
    assert await board.subscribe().receive() == [skaffold(), forward("a"), skip()]


async def test_a_reader_that_waits_gets_each_change() -> None:
    """Nothing is held back from a reader that is there."""
    board = Board()
    seen: list[str] = []

    async def read() -> None:
        subscription = board.subscribe()
        reading.set()
        while len(seen) < 3:
            seen.extend(getattr(record, "state", "") for record in await subscription.receive())

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
    assert await subscription.receive() == [forward("b", reason="999"), forward("a", "failed")]


async def test_what_a_stuck_reader_holds_is_bounded() -> None:
    """Ended forwards do not accumulate without limit; every current forward is delivered."""
    board = Board()
    subscription = board.subscribe()
    for number in range(2 * MAX_UNTOLD_ENDS):
        board.publish(forward(f"web-{number}"))
        board.publish(forward(f"web-{number}", "stopped"))
    board.publish(forward("stays"))
    records = await subscription.receive()
    assert len(records) == MAX_UNTOLD_ENDS + 1
    assert records[-1] == forward("stays")
    assert records[-2] == forward(f"web-{2 * MAX_UNTOLD_ENDS - 1}", "stopped")


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
        for record in await subscription.receive():
            told[record_key(record)] = getattr(record, "state", "")

    for step in (*steps, None):
        if step is None:
            trio.run(look)
        else:
            board.publish(forward(*step))
            truth[record_key(forward(*step))] = step[1]
    assert told == truth | {record_key(skaffold()): ""}
    standing = {ident for ident, state in truth.items() if state != "stopped"}
    assert board.forwards.keys() == standing


async def test_the_end_is_told_after_everything_else() -> None:
    """What was pending when the board closed is still handed out."""
    board = Board()
    subscription = board.subscribe()
    board.publish(forward())
    board.close()
    assert await subscription.receive() == [forward()]
    with pytest.raises(trio.EndOfChannel):
        await subscription.receive()


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


ID = skip().id


@pytest.mark.parametrize("told", [True, False])
async def test_a_forward_that_becomes_a_skip_is_stopped_first(*, told: bool) -> None:
    """To every reader, however slow: also to one that takes nothing in between, or has never taken anything."""
    board = Board()
    subscription = board.subscribe()
    board.publish(forward(id=ID))
    if told:
        await subscription.receive()
    board.publish(forward(id=ID, state="stopped", url=""))
    board.publish(skip())
    assert await subscription.receive() == [forward(id=ID, state="stopped", url=""), skip()]


async def test_a_skip_ends_what_it_takes_the_place_of() -> None:
    """Even if the end was not reported: the board never shows both."""
    board = Board()
    subscription = board.subscribe()
    board.publish(forward(id=ID))
    board.publish(skip())
    assert (list(board.forwards), list(board.skips)) == ([], [ID])
    assert [getattr(record, "state", record) for record in await subscription.receive()] == ["stopped", skip()]
    board.publish(forward(id=ID, state="stopped"))  # the forward's own report comes late
    assert list(board.skips) == [ID]
    board.publish(forward(id=ID))
    assert await subscription.receive() == [skip(over=True), forward(id=ID)]


async def test_another_local_port_is_another_forward() -> None:
    """A slow reader gets the end of the forward that it knows and then the current one, not those between."""
    board = Board()
    subscription = board.subscribe()
    board.publish(forward(local_port=0, url="", state="waiting"))
    board.publish(forward())
    await subscription.receive()
    for port in (9000, 9001, 9002):
        board.publish(forward(local_port=port))
    end, now = await subscription.receive()
    assert (getattr(end, "state", ""), getattr(end, "local_port", 0)) == ("stopped", 8080)
    assert now == forward(local_port=9002)


async def test_no_end_is_lost_to_a_bound() -> None:
    """A stuck reader that knows more forwards than the bound still gets the end of each."""
    board = Board()
    subscription = board.subscribe()
    names = [f"web-{number}" for number in range(MAX_UNTOLD_ENDS + 500)]
    for name in names:
        board.publish(forward(name))
    await subscription.receive()
    for name in names:
        board.publish(forward(name, "stopped"))
    for number in range(2 * MAX_UNTOLD_ENDS):  # and others come and go meanwhile
        board.publish(forward(f"other-{number}"))
        board.publish(forward(f"other-{number}", "stopped"))
    told = {record.resource_name for record in await subscription.receive() if isinstance(record, ForwardRecord)}
    assert set(names) <= told
    assert len(told) == len(names) + MAX_UNTOLD_ENDS


async def test_what_stands_already_is_not_news() -> None:
    """Stated again at a later time it is one record; ended twice it ends once."""
    board = Board()
    subscription = board.subscribe()
    later = "2026-11-24T00:00:00.000Z"
    board.publish_if_changed(skip())
    board.publish_if_changed(skip(time=later))
    assert await subscription.receive() == [skip()]
    board.publish_end(ID, later)
    board.publish_end(ID, later)
    assert await subscription.receive() == [skip(time=later, over=True)]
