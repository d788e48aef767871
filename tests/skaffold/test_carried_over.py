"""Which run ids and namespaces still count, over any number of runs, reloads and Skaffold processes."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.skaffold.state import (
    MOST_FORMER_RUNS,
    SkaffoldFacts,
    carried_over,
    change_kinds,
    deployed_again,
    first_deployed,
)


def facts(run_id: str, *namespaces: str, deployed: bool = False, deploys: int = 0) -> SkaffoldFacts:
    return SkaffoldFacts(
        attached=True, run_id=run_id, namespaces=frozenset(namespaces), deployed=deployed, deploys=deploys
    )


def counting(*steps: SkaffoldFacts) -> SkaffoldFacts:
    """The facts after these steps, one after the other."""
    now = SkaffoldFacts()
    for step in steps:
        now = carried_over(now, step)
    return now


def test_a_former_run_counts_until_the_next_one_has_deployed() -> None:
    """A reload gives a new run id while the old objects still serve."""
    old, new = facts("old", deployed=True), facts("new")
    assert counting(old).former_run_ids == frozenset()
    assert counting(old, new).former_run_ids == {"old"}
    assert counting(old, new, facts("new", deployed=True), facts("newer")).former_run_ids == {"new"}


def test_runs_that_never_deployed_all_count() -> None:
    """Nobody knows which of them left objects behind."""
    assert counting(facts("a"), facts("b"), facts("c")).former_run_ids == {"a", "b"}


def test_an_unknown_run_id_is_no_former_run() -> None:
    """A Skaffold that starts again has no run id at first, and its predecessor's objects still count."""
    assert counting(facts(""), facts("a")).former_run_ids == frozenset()
    assert counting(facts("a", deployed=True), facts(""), facts("b")).former_run_ids == {"a"}


def test_namespaces_count_until_a_deploy_names_others() -> None:
    """A first successful deploy has checked them all; one without a status check tells of none."""
    shop = facts("a", "shop", deployed=True)
    assert counting(shop, facts("b")).namespaces == {"shop"}
    assert counting(shop, facts("b", "cart")).namespaces == {"shop", "cart"}
    assert counting(shop, facts("b", "cart"), facts("b", "cart", deployed=True)).namespaces == {"cart"}
    assert counting(shop, facts("b"), facts("b", deployed=True)).namespaces == {"shop"}


SHORT = st.sampled_from(["", *string.ascii_lowercase[:4]])
STEP = st.builds(
    lambda run_id, namespaces, deployed: facts(run_id, *namespaces, deployed=deployed),
    SHORT,
    st.frozensets(st.sampled_from(["shop", "cart", "pay"])),
    st.booleans(),
)


@pytest.mark.parametrize(
    ("before", "now", "first", "again"),
    [
        (facts("a"), facts("a", deployed=True, deploys=1), True, True),
        (facts("a", deployed=True), facts("a", deployed=True), False, False),
        (facts("a", deployed=True, deploys=1), facts("a", deployed=True, deploys=2), False, True),
        (facts("a", deployed=True), facts("b"), False, False),
        (facts("a"), facts("b", deployed=True), True, True),
        (facts("a", deployed=True, deploys=1), facts("b", deployed=True, deploys=1), True, True),
        (facts("a"), facts("a", deploys=1), False, False),
    ],
)
def test_deploys(before: SkaffoldFacts, now: SkaffoldFacts, *, first: bool, again: bool) -> None:
    """Also where one change has both the new run and its deploy, as in the replay of a `skaffold run`."""
    assert (first_deployed(before, now), deployed_again(before, now)) == (first, again)


@given(st.lists(STEP, max_size=12))
def test_any_history(steps: list[SkaffoldFacts]) -> None:
    """Every run id that counts was seen since the last deploy, and what this process says of itself stays as it is."""
    now = SkaffoldFacts()
    for step in steps:
        before, now = now, carried_over(now, step)
        assert now.former_run_ids <= before.former_run_ids | {before.run_id}
        assert "" not in now.former_run_ids
        assert step.namespaces <= now.namespaces <= step.namespaces | before.namespaces
        assert (now.run_id, now.deployed) == (step.run_id, step.deployed)
        if now.run_id != before.run_id and before.run_id:
            assert before.run_id in now.former_run_ids
        if now.run_id == before.run_id:
            assert now.former_run_ids == before.former_run_ids


@given(STEP, STEP)
def test_the_same_facts_again_change_nothing(first: SkaffoldFacts, then: SkaffoldFacts) -> None:
    """Losing the stream and replaying it are no new runs."""
    once = counting(first, then)
    assert carried_over(once, then) == once
    assert carried_over(once, once) == once
    assert change_kinds(once, carried_over(once, then)) == []


@given(st.lists(st.integers(0, 500), max_size=200))
def test_runs_without_a_deploy_are_bounded(numbers: list[int]) -> None:
    """Someone who edits a broken skaffold.yaml all day does not make every plan slower."""
    now = counting(*(facts(f"run-{number}") for number in numbers))
    assert len(now.former_run_ids) <= MOST_FORMER_RUNS
