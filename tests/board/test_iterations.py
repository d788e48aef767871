"""When the last save counts as deployed: Skaffold's records and the time decide, nothing else."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tests.board.made import skaffold
from watcher.board.readiness import IterationState, SavedIteration
from watcher.board.records import SkaffoldRecord

NOTICE = 3.0
ASKED, EARLIER, LATER = "2026-11-23T22:48:05.000Z", "2026-11-23T22:48:04.999Z", "2026-11-23T22:48:05.001Z"
IDLE, LOOP = skaffold(), skaffold(phase="building")
GONE = skaffold(attached=False, phase="", reason="no Skaffold answers")


def after(*steps: tuple[float, SkaffoldRecord | None]) -> IterationState:
    """The last state after these records at these times."""
    saved = SavedIteration(ASKED, NOTICE)
    return [saved.state(record, now) for now, record in steps][-1]


def is_served(state: IterationState) -> bool:
    return not state.pending and not state.error


def test_without_a_change_it_ends_after_the_time_to_notice_one() -> None:
    """It cannot be known sooner; the result says when to look again."""
    assert after((10, IDLE)).until == 13
    assert after((10, IDLE), (12.9, IDLE)).pending == "Skaffold has not noticed a change"
    state = after((10, IDLE), (13, IDLE))
    assert is_served(state)
    assert state.idle


def test_a_noticed_save_is_served_when_its_iteration_is_idle() -> None:
    """At once: an iteration that began after the question has every save before it."""
    begun = (11, skaffold(phase="building", iteration=2))
    assert after((10, IDLE), begun).pending == "Skaffold is building, iteration 2"
    assert after((10, IDLE), begun).until == math.inf
    state = after((10, IDLE), begun, (14, skaffold(iteration=2)))
    assert is_served(state)
    assert not state.idle
    assert is_served(after((10, IDLE), (11, skaffold(iteration=2))))  # nobody saw it begin


def test_an_iteration_that_runs_already_may_lack_the_save() -> None:
    """Skaffold notices a save during a loop only after that loop."""
    assert after((10, LOOP), (20, IDLE)).until == 23
    assert after((10, LOOP), (20, IDLE), (21, skaffold(phase="updating", iteration=2))).pending
    assert is_served(after((10, LOOP), (20, IDLE), (21, LOOP), (22, skaffold(iteration=2))))
    assert is_served(after((10, LOOP), (20, IDLE), (23, IDLE)))


def test_a_loop_that_began_after_the_question_is_not_waited_out() -> None:
    """The first record may come late: the program that asks takes some tenths of a second to start."""
    assert is_served(after((10, skaffold(iteration_began=LATER))))
    assert not after((10, skaffold(iteration_began=LATER))).idle
    assert after((10, skaffold(iteration_began=EARLIER))).pending
    assert after((10, skaffold(iteration_began=LATER, phase="building"))).pending


def test_a_failure_has_skaffolds_own_words() -> None:
    """Of the new iteration at once, of the old one when no change was noticed."""
    failed = skaffold(failed=True, error="build [app] failed: exit status 1")
    message = "Skaffold's iteration 1 failed: build [app] failed: exit status 1"
    assert after((10, failed)).pending
    assert after((10, failed), (13, failed)).error == message
    assert after((10, skaffold(iteration=0)), (11, failed)).error == message
    assert after((10, failed), (12, skaffold(iteration=2))).error == ""


def test_a_reload_is_noticed_by_its_iteration() -> None:
    """Skaffold has the new run id some time before it builds."""
    assert after((10, IDLE), (11, skaffold(run_id="run-2"))).pending
    assert is_served(after((10, IDLE), (11, skaffold(run_id="run-2")), (12, skaffold(run_id="run-2", iteration=2))))


def test_a_skaffold_that_was_started_again_has_the_save() -> None:
    """It counts from 1 again. The same one that was merely lost and found does not."""
    again = skaffold(run_id="run-2")
    assert is_served(after((10, IDLE), (11, GONE), (12, again)))
    assert after((10, IDLE), (11, GONE), (12, IDLE)).until == 15


def test_skaffold_may_start_after_the_question() -> None:
    """Until then there is nothing to say; its first loop may have begun before the save."""
    assert after((10, None)).pending == "no Skaffold is attached"
    assert after((10, GONE)).pending == "no Skaffold answers"
    assert after((10, None), (20, LOOP)).pending == "Skaffold is building, iteration 1"
    assert after((10, None), (20, LOOP), (30, IDLE)).until == 33


def test_a_skaffold_that_ends_with_a_failure_is_an_error() -> None:
    """As `skaffold dev` does when its first build fails."""
    gone = skaffold(attached=False, phase="", failed=True, error="build failed")
    assert after((10, LOOP), (11, gone)).error == "Skaffold has ended: build failed"
    assert after((10, gone)).pending  # it failed before the question: the next one is waited for


RECORD = st.none() | st.builds(
    skaffold,
    attached=st.booleans(),
    phase=st.sampled_from(["", "idle", "building", "deploying"]),
    iteration=st.integers(0, 3),
    iteration_began=st.sampled_from(["", EARLIER, LATER]),
    run_id=st.sampled_from(["a", "b"]),
    failed=st.booleans(),
)


@given(st.lists(st.tuples(st.floats(0, 4), RECORD), min_size=1, max_size=12))
def test_it_is_over_only_when_skaffold_rests(steps: list[tuple[float, SkaffoldRecord | None]]) -> None:
    """Whatever happens: while Skaffold works or is away nothing is served, and a rest is served in bounded time."""
    saved, now = SavedIteration(ASKED, NOTICE), 0.0
    for pause, record in steps:
        now += pause
        state = saved.state(record, now)
        if is_served(state):
            assert record is not None
            assert (record.attached, record.phase, record.failed) == (True, "idle", False)
        if record is not None and record.attached and record.phase == "idle":
            last = saved.state(record, now + NOTICE)
            assert not last.pending
            assert bool(last.error) == record.failed
