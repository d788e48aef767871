"""Pods that start: a session to one may be tried once it has a node, and no forward is ready because of it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.plan.made import RUN, Item, deployment_of_run, entry, make_plan, pod_of_run, service, world
from watcher.cluster.kinds import Condition, Pod
from watcher.plan.facts import Facts
from watcher.plan.plan import Plan, explain
from watcher.skaffold.modes import Mode

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


def leads(plan: Plan) -> list[tuple[str, bool, bool]]:
    wanted = plan.forwards[0]
    return [(endpoint.pod.name, endpoint.ready, endpoint.running) for endpoint in wanted.endpoints]


OLD, NEW = pod_of_run("old", "web"), started(pod_of_run("new", "web"))
SCHEDULED = started(NEW, "PodScheduled")


@source
def test_a_pod_with_a_node_comes_behind_those_that_run(facts: Facts) -> None:
    """It is no reason to be ready, and the reason why the forward is not stays the same."""
    behind = ("web-6c-new", False, False)
    assert leads(make_plan(cluster(facts, OLD, SCHEDULED))) == [("web-6c-old", True, True), behind]
    without, alone = cluster(facts, NEW), cluster(facts, SCHEDULED)
    before, after = make_plan(without), make_plan(alone)
    assert (leads(before), leads(after)) == ([], [behind])
    assert before.forwards[0].waiting_for == after.forwards[0].waiting_for != ""
    assert explain(before, without) == explain(after, alone)


@source
def test_other_pods_do_not_start(facts: Facts) -> None:
    """A pod without a node and one that has failed are no endpoints."""
    for conditions, phase in [((), "Pending"), (("PodScheduled",), "Failed")]:
        there = cluster(facts, OLD, started(NEW, *conditions, phase=phase))
        assert leads(make_plan(there)) == [("web-6c-old", True, True)]
