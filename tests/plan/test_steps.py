"""What a plan costs: it grows with the number of objects, not its square, and it is made in steps with pauses."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.plan.made import (
    RUN,
    Item,
    deployment_of_run,
    entry,
    made_of,
    make_plan,
    meta,
    pod_of_run,
    result_of,
    service,
    world,
)
from watcher.cluster.kinds import (
    ENDPOINT_SLICE,
    POD,
    RUN_ID_LABEL,
    EndpointPort,
    EndpointSlice,
    ObjectReference,
    Pod,
    SliceEndpoint,
)
from watcher.cluster.store import Store, Watch, WatchCache
from watcher.plan.facts import Facts
from watcher.plan.plan import Plan, plan_in_steps
from watcher.plan.pods import MOST_PODS, PODS_A_STEP
from watcher.plan.run import artifact_index
from watcher.skaffold.modes import Mode

PODS = Facts(modes=frozenset({Mode.PODS}), run_id=RUN)


def crowd(count: int, owner: str = "web") -> list[Pod]:
    pods = [made_of(pod_of_run(f"{number:05}", owner), Pod) for number in range(count)]
    return [
        replace(pod, metadata=replace(pod.metadata, creation_timestamp=f"2026-11-23T11:{number:05}"))
        for number, pod in enumerate(pods)
    ]


def live(pods: list[Pod]) -> tuple[Facts, Store]:
    """Facts over a store that changes."""
    store = Store(lambda: None)
    for watch in world(PODS, []).cluster.objects:
        WatchCache(store, watch).replace(tuple(pods) if watch.kind is POD else ())
    return replace(PODS, cluster=store.snapshot), store


def seconds(artifacts: int) -> float:
    """Processor time of the fastest of three plans with so many artifacts and two pods for each."""
    names = tuple(f"registry.example/team/app-{number}" for number in range(artifacts))
    items = [pod_of_run(str(n % 2), f"app-{n // 2}", image=f"{names[n // 2]}:v1") for n in range(2 * artifacts)]
    facts = world(replace(PODS, artifacts=names), items)
    took = []
    for _ in range(3):
        began = time.thread_time()
        assert len(make_plan(facts).forwards) == 2 * artifacts
        took.append(time.thread_time() - began)
    return min(took)


def test_many_artifacts_cost_no_more_than_their_number() -> None:
    """Eight times the artifacts take eight times as long; before the index of names it was fifty times."""
    assert seconds(400) < 16 * seconds(50)


def test_a_plan_pauses_while_it_groups_pods() -> None:
    """Not only between verdicts: one owner with thousands of pods has few of those."""
    facts, _ = live(crowd(1000))
    assert len(list(plan_in_steps(facts))) > len(make_plan(facts).forwards) + 3


BY_LABEL = replace(entry("pod", ""), selector="app=web")


def bare_service_of(pods: list[Pod]) -> list[Item]:
    """A service without selector, and an EndpointSlice with all these pods."""
    kind, item = service(selector={})
    endpoints = tuple(SliceEndpoint(target_ref=ObjectReference("Pod", uid=pod.metadata.uid)) for pod in pods)
    metadata = meta("web-1", labels={"kubernetes.io/service-name": "web"})
    return [
        (kind, item),
        (ENDPOINT_SLICE, EndpointSlice(metadata=metadata, endpoints=endpoints, ports=(EndpointPort(8080, "http"),))),
    ]


@pytest.mark.parametrize(
    ("targets", "facts"),
    [
        (lambda _: [service()], Facts(modes=frozenset({Mode.SERVICES}))),
        (bare_service_of, Facts(modes=frozenset({Mode.SERVICES}))),
        (lambda _: [service()], Facts(entries=(entry(source="direct"),))),
        (lambda _: [deployment_of_run("web")], Facts(entries=(entry("deployment", source="direct"),))),
        (lambda _: [], Facts(entries=(replace(BY_LABEL, source="direct"),))),
    ],
    ids=["service", "without selector", "entry", "deployment", "by label"],
)
def test_a_target_with_thousands_of_pods_is_planned_in_steps(
    targets: Callable[[list[Pod]], list[Item]], facts: Facts
) -> None:
    """Reading them is divided among steps, whatever leads to them; before, one step read them all."""
    pods = crowd(3 * MOST_PODS)

    def steps(there: list[Pod]) -> int:
        items = [*targets(there), *((POD, pod) for pod in there)]
        return len(list(plan_in_steps(world(replace(facts, run_id=RUN), items))))

    assert steps(pods) - steps(pods[:1]) >= len(pods) / PODS_A_STEP


def test_what_changes_between_two_steps_disturbs_no_plan() -> None:
    """Pods come and go all the while; every forward is planned."""
    pods = crowd(600)
    facts, store = live(pods)
    cache = WatchCache(store, Watch(POD, "", label_selector=RUN_ID_LABEL))

    def changing() -> Generator[None, None, Plan]:
        steps = plan_in_steps(facts)
        for pod in pods:
            try:
                yield next(steps)
            except StopIteration as finished:
                return cast("Plan", finished.value)
            cache.drop(pod)
            cache.put(made_of(pod_of_run(f"new-{pod.metadata.name}", "web"), Pod))
        raise AssertionError("it never ends")

    assert [one.subject.remote_port for one in result_of(changing()).forwards] == [5005, 8080]


def test_of_thousands_of_pods_the_best_are_considered() -> None:
    """The youngest here; a forward uses one at a time."""
    facts, _ = live(crowd(3 * MOST_PODS))
    for forward in make_plan(facts).forwards:
        assert len(forward.endpoints) == MOST_PODS
        assert forward.endpoints[0].pod.name == f"web-6c-{3 * MOST_PODS - 1:05}"


def test_a_service_considers_as_many() -> None:
    """Whatever else its selector matches."""
    items = [service(), *((POD, pod) for pod in crowd(MOST_PODS + 10))]
    [forward] = make_plan(world(Facts(modes=frozenset({Mode.SERVICES}), run_id=RUN), items)).forwards
    assert len(forward.endpoints) == MOST_PODS


def test_a_pod_that_changed_is_read_again() -> None:
    """What an earlier plan read of a pod under the same name does not count."""
    kind, item = pod_of_run("x", "web")
    assert isinstance(item, Pod)
    before = make_plan(world(PODS, [deployment_of_run("web"), (kind, item)]))
    stopped = replace(item, status=replace(item.status, phase="Failed"))
    after = make_plan(world(PODS, [deployment_of_run("web"), (kind, stopped)]))
    assert [len(plan.forwards[0].endpoints) for plan in (before, after)] == [1, 0]


def is_artifact(image: str, artifact: str) -> bool:
    """The rule as Skaffold has it, one image and one artifact at a time."""

    def repository(name: str) -> str:
        return re.sub(r":[^:/]*$", "", re.sub(r"@[^@/]*$", "", name))

    image, artifact = repository(image), repository(artifact)
    spellings = {artifact, re.sub(r"[^a-zA-Z0-9]", "_", artifact), re.sub(r"[^a-zA-Z0-9]", "-", artifact)}
    parts = artifact.split("/")
    merged = re.search(r"(^|\.)gcr\.io$|-docker\.pkg\.dev$", parts[0]) and any(
        image.startswith("/".join(parts[:n]) + "/") and image.endswith("/" + "/".join(parts[n:]))
        for n in range(1, len(parts))
    )
    return image in spellings or any(image.endswith(f"/{one}") for one in spellings) or bool(merged)


parts = st.sampled_from(
    ["gcr.io", "eu.gcr.io", "x-docker.pkg.dev", "localhost:5000", "team", "app", "my_app", "my-app"]
)
images = st.lists(parts, min_size=1, max_size=5).map("/".join)


@given(images, st.sampled_from(["", ":v1", "@sha256:12", ":v1@sha256:12"]), st.lists(images, max_size=4))
def test_the_index_follows_the_rule_for_each_artifact(image: str, end: str, artifacts: list[str]) -> None:
    """For any image and any list of artifacts."""
    expected = any(is_artifact(image + end, artifact) for artifact in artifacts)
    assert artifact_index(tuple(artifacts)).has(image + end) is expected
