"""Pods on their way: what is watched to know when a session to one can stand, and that none is served by it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.plan.made import RUN, Item, deployment_of_run, entry, meta, only, pod, pod_of_run, service, world
from watcher.cluster.kinds import EVENT
from watcher.cluster.objects import Condition, Event, Object, ObjectReference, Pod
from watcher.cluster.store import Problem, Watch
from watcher.plan.explain import explain
from watcher.plan.facts import Facts
from watcher.plan.needs import needs, settled
from watcher.plan.plan import Plan, make_plan
from watcher.skaffold.modes import Mode

PULLED = Watch(EVENT, "default", field_selector="involvedObject.kind=Pod,reason=Pulled")
SOURCES = [
    Facts(modes=frozenset({Mode.SERVICES}), run_id=RUN),
    Facts(entries=(entry("service", source="direct"),), namespace="default"),
    Facts(modes=frozenset({Mode.PODS}), run_id=RUN),
]
source = pytest.mark.parametrize("facts", SOURCES, ids=["services", "entry", "pods"])


def started(item: Item, *conditions: str, phase: str = "Pending") -> Item:
    """The pod as the kubelet has it then."""
    kind, there = item
    assert isinstance(there, Pod)
    status = replace(there.status, phase=phase, conditions=tuple(Condition(name, "True") for name in conditions))
    return kind, replace(there, status=status)


def cluster(facts: Facts, *pods: Item) -> Facts:
    return world(facts, [service(), deployment_of_run("web"), *pods])


def told(facts: Facts, *uids: str) -> Facts:
    """With the kubelet's events of these pods."""
    events: dict[tuple[str, str], Object] = {
        ("default", f"{uid}.1"): Event(meta(f"{uid}.1"), ObjectReference("Pod", uid, uid), "Pulled") for uid in uids
    }
    return replace(facts, cluster=replace(facts.cluster, objects={**facts.cluster.objects, PULLED: events}))


def leads(plan: Plan) -> list[tuple[str, bool, bool]]:
    wanted = plan.forwards[0]
    return [(endpoint.pod.name, endpoint.ready, endpoint.running) for endpoint in wanted.endpoints]


OLD, NEW = pod_of_run("old", "web"), started(pod_of_run("new", "web"), "PodScheduled")


@source
def test_a_pod_with_a_sandbox_comes_behind_those_that_run(facts: Facts) -> None:
    """It is no reason to be ready, and what hinders the forward is said as without it."""
    behind = ("web-6c-new", False, False)
    assert leads(make_plan(told(cluster(facts, OLD, NEW), "web-6c-new"))) == [("web-6c-old", True, True), behind]
    alone = cluster(facts, NEW)
    before, after = make_plan(alone), make_plan(told(alone, "web-6c-new"))
    assert (leads(before), leads(after)) == ([], [behind])
    assert before.forwards[0].waiting_for == after.forwards[0].waiting_for != ""
    assert explain(before, alone) == explain(after, told(alone, "web-6c-new"))


@source
def test_its_status_is_as_good_as_an_event(facts: Facts) -> None:
    """Where the kubelet came to write it in between, or events may not be read."""
    [_, one] = leads(make_plan(cluster(facts, OLD, started(NEW, "PodScheduled", "PodReadyToStartContainers"))))
    assert one == ("web-6c-new", False, False)


@source
def test_events_of_others_say_nothing(facts: Facts) -> None:
    """Nor does an event of a pod that is over, or not on a node yet."""
    assert leads(make_plan(told(cluster(facts, OLD, NEW), "web-6c-newer"))) == [("web-6c-old", True, True)]
    for conditions, phase in [((), "Pending"), (("PodScheduled",), "Failed")]:
        there = cluster(facts, OLD, started(NEW, *conditions, phase=phase))
        assert leads(make_plan(told(there, "web-6c-new"))) == [("web-6c-old", True, True)]


@source
def test_events_are_watched_while_a_pod_of_a_forward_starts(facts: Facts) -> None:
    """Neither before nor after, nor for pods of others; and no plan waits for them."""
    starting = cluster(facts, OLD, NEW)
    assert make_plan(starting).arrivals == {PULLED}
    assert settled(starting, needs(starting))
    assert PULLED not in needs(starting)
    stranger = started(pod("strange", "db"), "PodScheduled")
    for others in ([OLD], [OLD, started(NEW, "PodScheduled", phase="Running")], [OLD, stranger], [started(NEW)]):
        assert make_plan(cluster(facts, *others)).arrivals == frozenset()


def test_events_that_may_not_be_read_change_nothing() -> None:
    """The forward is there, and its pod serves when it is Ready."""
    there = cluster(SOURCES[0], OLD, NEW)
    refused = replace(there, cluster=replace(there.cluster, problems={PULLED: Problem("403", forbidden=True)}))
    assert make_plan(refused) == make_plan(there)
    assert only(make_plan(refused)).waiting_for == ""
