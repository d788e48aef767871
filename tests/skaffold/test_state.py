"""What the recorded runs, and events in other orders, add up to."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.skaffold.made import EPOCH, fold, history, meta, task
from tests.skaffold.recorded import NAMES, events, folded
from watcher.skaffold.events import (
    ActionableError,
    BuildMetadata,
    EventBody,
    Metadata,
    MetaEvent,
    SkaffoldEvent,
    StatusCheckEvent,
    TaskEvent,
)
from watcher.skaffold.state import MOST_ERROR, SkaffoldState, apply

APP = ("deployment", "app", "parity", "http")
WEB = ("service", "web", "parity", 8080)


@pytest.mark.parametrize(
    ("name", "run_id", "iteration", "failed", "deployed", "deploys", "own"),
    [
        ("dev-first", "5c876761", 1, False, True, 1, {APP, WEB}),
        ("dev-redeploy", "adc44aa3", 4, False, True, 3, {APP, WEB}),
        ("dev-deployfail", "cbda8d7f", 5, False, True, 5, {APP, WEB}),
        ("dev-firstdeployfail", "f01684c5", 1, True, False, 1, set()),
        ("dev-firstbuildfail", "019a40bb", 1, True, False, 0, set()),
        ("dev-buildfail", "2c73b626", 4, True, True, 3, {APP, WEB}),
        ("dev-configedit", "9cba429c", 2, False, True, 2, {APP}),
        ("dev-configedit2", "749e231d", 4, False, True, 4, {APP}),
        ("dev-sigint-midloop", "c75f83d5", 1, True, False, 1, set()),
        ("run-off", "c33c93d3", 0, False, True, 1, set()),
        ("run-pf", "feabc9f8", 0, False, True, 1, {APP, WEB}),
        ("deploy", "843231db", 0, False, True, 1, set()),
    ],
)
def test_recorded_runs(
    name: str, run_id: str, iteration: int, failed: object, deployed: object, deploys: int, own: set[object]
) -> None:
    """Each recorded run ends in the facts that its README line tells of."""
    facts = folded(name).facts
    assert (facts.run_id[:8], facts.iteration) == (run_id, iteration)
    assert (facts.failed, facts.deployed, facts.deploys) == (failed, deployed, deploys)
    assert set(facts.own_forwards) == own
    assert facts.phase == "idle"
    assert facts.artifacts == ("localhost:5000/app",)


@pytest.mark.parametrize("name", NAMES)
def test_replay_twice_ends_in_the_same_facts(name: str) -> None:
    """History folded again on top of itself changes nothing but the count of deploys."""
    once = folded(name)
    state = once
    for event in events(name):
        state = apply(state, event)
    assert replace(state.facts, deploys=0) == replace(once.facts, deploys=0)


@given(st.sampled_from(NAMES), st.data())
def test_live_events_among_the_replay(name: str, data: st.DataObject) -> None:
    """However the newest events interleave with the replay of the older ones, the same is known in the end."""
    everything = events(name)
    cut = data.draw(st.integers(0, len(everything)))
    old, live = list(everything[:cut]), list(everything[cut:])
    mixed = []
    while old or live:
        source = old if not live or (old and data.draw(st.booleans())) else live
        mixed.append(source.pop(0))
    got, expected = fold(mixed), fold(everything)
    assert replace(got, own_forwards={}) == replace(expected, own_forwards={})
    assert set(expected.own_forwards) <= set(got.own_forwards)


def test_meta_without_run_id_clears_nothing() -> None:
    """A meta event that lacks the run id or the artifacts leaves what is known."""
    facts = fold(
        [*events("dev-first"), *history(MetaEvent(), MetaEvent(Metadata()), MetaEvent(Metadata(build=BuildMetadata())))]
    )
    assert facts == folded("dev-first").facts


def test_new_run_id_is_not_deployed_until_its_own_deploy() -> None:
    """After a reload the old run's deploy counts no longer."""
    bodies: list[EventBody] = [
        meta("a"),
        task("Deploy", "Succeeded"),
        meta("b"),
        task("Deploy", "Failed", 2),
        task("Deploy", "Succeeded", 3),
    ]
    assert [fold(history(*bodies[:n])).deployed for n in range(6)] == [False, False, True, False, False, True]


def test_late_meta_of_an_old_run_is_history() -> None:
    """The replay's older run id does not displace a live one that came first."""
    old, deploy, new = history(meta("a"), task("Deploy", "Succeeded"), meta("b"))
    facts = fold([new, old, deploy])
    assert (facts.run_id, facts.deployed) == ("b", False)


def test_attached_in_the_middle_of_a_loop() -> None:
    """A live meta event ahead of the replay does not hide that this run was deployed before."""
    first, deploy, again = history(meta("a"), task("Deploy", "Succeeded"), meta("a"))
    assert fold([again, first, deploy]).deployed


def test_phases() -> None:
    """A loop is told in words; a sync-only loop is `updating` and then idle."""
    seen = []
    state = SkaffoldState()
    for event in events("dev-redeploy"):
        state = apply(state, event)
        seen.append(state.facts.phase)
    changes = [b for a, b in pairwise(["", *seen]) if a != b]
    loop = ["updating", "rendering", "deploying", "checking", "idle", "forwarding", "idle"]
    built = ["updating", "building", *loop[1:]]
    assert changes == [*built, *loop, *built, "updating", "idle"]


def test_failure_is_forgotten_with_the_next_loop() -> None:
    """`failed` is about the last loop."""
    bodies: list[EventBody] = [
        task("DevLoop", "InProgress"),
        task("Build", "Failed"),
        task("DevLoop", "Failed"),
        task("DevLoop", "InProgress", 2),
    ]
    assert [fold(history(*bodies[:n])).failed for n in range(5)] == [False, False, True, True, False]


def test_namespaces_add_up() -> None:
    """Every namespace that a status check names is kept."""
    checks = [StatusCheckEvent(resource=name) for name in ("a:deployment/x", "b:pod/y", "deployment/z")]
    assert fold(history(*checks)).namespaces == {"a", "b"}


def test_events_without_time_count_as_now() -> None:
    """A line that lacks its timestamp is taken in the order of arrival."""
    late = [SkaffoldEvent(None, meta("b")), SkaffoldEvent(None, task("Build", "InProgress"))]
    facts = fold([*history(meta("a"), task("Deploy", "Succeeded")), *late])
    assert (facts.run_id, facts.phase) == ("b", "building")


def test_when_a_loop_began_and_why_it_failed() -> None:
    """The first error of a loop stays until the next loop; the resource of a failed check is named."""
    failed = TaskEvent("Build", "Failed", 2, ActionableError("build [app] failed:\n  exit status 1"))
    again = TaskEvent("DevLoop", "Failed", 2, ActionableError("the loop failed"))
    loop = history(
        task("DevLoop", "Succeeded"), task("DevLoop", "InProgress", 2), task("Build", "InProgress", 2), failed, again
    )
    facts = fold(loop)
    assert (facts.failed, facts.error) == (True, "build [app] failed: exit status 1")
    assert facts.iteration_began == loop[1].at
    later = [SkaffoldEvent(EPOCH + timedelta(minutes=1), task("DevLoop", "InProgress", 3))]
    assert (fold([*loop, *later]).error, fold([*loop, *later]).iteration_began) == ("", later[0].at)
    check = StatusCheckEvent(
        "shop:deployment/web", "Failed", ActionableError("container web exited with code 1"), "Deploy-1"
    )
    assert fold(history(check, task("StatusCheck", "Failed"))).error == (
        "shop:deployment/web: container web exited with code 1"
    )
    assert fold(history(StatusCheckEvent("shop:deployment/web", "Succeeded", None, "Deploy-0"))).error == ""
    long = TaskEvent("Build", "Failed", 1, ActionableError("x" * 100_000))
    assert len(fold(history(long)).error) == MOST_ERROR


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("dev-firstbuildfail", "build [localhost:5000/app] failed: building custom artifact: exit status 1"),
        ("dev-firstdeployfail", "kubectl apply: exit status 1"),
        ("dev-redeploy", ""),
    ],
)
def test_errors_of_recorded_runs(name: str, error: str) -> None:
    """In Skaffold's own words."""
    assert folded(name).facts.error == error
