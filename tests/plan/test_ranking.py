"""The order of a target's pods: Ready, of the newest revision, the newest; of a StatefulSet the lowest ordinal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.plan.made import Item, pod, result_of
from watcher.cluster.kinds import OwnerReference, Pod
from watcher.plan.pods import best_pods

ARGO = "rollouts-pod-template-hash"


def of_set(name: str, *, ready: bool = True, age: int = 0, revision: str = "") -> Pod:
    owner = OwnerReference("StatefulSet", "db", "db", controller=True)
    return made(pod(name, ready=ready, age=age, owner=owner, revision=revision))


def of_deployment(
    name: str,
    template: str,
    *,
    ready: bool = True,
    age: int = 0,
    deployment: str = "web",
    label: str = "pod-template-hash",
) -> Pod:
    owner = OwnerReference("ReplicaSet", f"{deployment}-{template}", f"{deployment}-{template}", controller=True)
    one = made(pod(name, ready=ready, age=age, owner=owner))
    labels = {**(one.metadata.labels or {}), label: template}
    return replace(one, metadata=replace(one.metadata, labels=labels))


def made(item: Item) -> Pod:
    assert isinstance(item[1], Pod)
    return item[1]


def ranking(pods: list[Pod], newest: str = "") -> list[Pod]:
    views, _ = result_of(best_pods(pods, newest))
    return [view.pod for view in views]


def outdated(pods: list[Pod], newest: str = "") -> set[str]:
    """The uids of the outdated ones."""
    views, old = result_of(best_pods(pods, newest))
    return {view.ref.uid for view in views if view.revision in old}


def names(pods: list[Pod]) -> list[str]:
    return [one.metadata.name for one in pods]


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([of_set("db-2"), of_set("db-10", age=9), of_set("db-0", age=3)], ["db-0", "db-2", "db-10"]),
        ([of_set("db-0", ready=False), of_set("db-2"), of_set("db-1", age=1)], ["db-1", "db-2", "db-0"]),
        ([of_set("db-0", age=9, revision="1"), of_set("db-1", revision="2")], ["db-0", "db-1"]),
        ([of_set("db-x"), of_set("db-1")], ["db-x", "db-1"]),
        ([made(pod("web-2", age=1)), made(pod("web-1"))], ["web-1", "web-2"]),
        ([made(pod("web-2")), made(pod("web-1", age=1))], ["web-2", "web-1"]),
    ],
)
def test_the_order(pods: list[Pod], expected: list[str]) -> None:
    """Numbers at the end of a name are ordinals of a StatefulSet alone, and its revisions change nothing."""
    assert names(ranking(pods)) == names(ranking(pods[::-1])) == expected


@pytest.mark.parametrize(
    ("pods", "old"),
    [
        ([of_deployment("a", "1", age=9), of_deployment("b", "2")], {"a"}),
        ([of_deployment("a", "1", age=9), of_deployment("b", "2", ready=False)], {"a"}),
        ([of_deployment("a", "1", age=9, label=ARGO), of_deployment("b", "2", label=ARGO)], {"a"}),
        ([of_deployment("a", "1", age=9, label="x"), of_deployment("b", "2", label="x")], set()),
        ([of_deployment("a", "1"), of_deployment("b", "1", age=9)], set()),
        ([of_deployment("a", "1", age=9), of_deployment("b", "2", deployment="other")], set()),
        ([of_deployment("a", "1"), of_deployment("b", "2")], set()),
        ([made(pod("a", age=1, revision="1")), made(pod("b", revision="2"))], {"a"}),
        ([made(pod("a", age=1)), made(pod("b"))], set()),
        ([], set()),
    ],
    ids=[
        "rolled out",
        "not yet Ready",
        "a Rollout of Argo's",
        "unlike names",
        "equals",
        "another's",
        "in the same second",
        "daemonset",
        "replicaset",
        "none",
    ],
)
def test_which_pods_are_of_an_older_revision(pods: list[Pod], old: set[str]) -> None:
    """Told from the pods alone: the one that was created last is of the newest revision of what made it."""
    assert outdated(pods) == old


def test_a_replica_set_that_is_known_to_be_the_newest_decides() -> None:
    """A rollback goes to an older ReplicaSet; and an old pod may be replaced in the middle of a rollout."""
    one, two = of_deployment("a", "1"), of_deployment("b", "2", age=5)
    assert outdated([one, two], "web-2") == {"a"}
    assert names(ranking([one, two], "web-2")) == ["b", "a"]
    bare = replace(one, metadata=replace(one.metadata, owner_references=None))
    assert outdated([bare], "web-2") == {"a"}


several = st.lists(
    st.builds(
        lambda name, template, age, ready: of_deployment(name, template, age=age, ready=ready),
        st.sampled_from("abcdef"),
        st.sampled_from("12"),
        st.integers(0, 3),
        st.booleans(),
    ),
    unique_by=lambda one: one.metadata.name,
)


@settings(deadline=None)  # two shared cores: time says nothing here
@given(several)
def test_no_order_puts_an_older_revision_before_a_newer_one_that_is_as_ready(pods: list[Pod]) -> None:
    """And some pod is always of the newest."""
    old = outdated(pods)
    ranked = [(one.ready, one.metadata.uid in old) for one in ranking(pods)]
    assert ranked == sorted(ranked, key=lambda one: (not one[0], one[1]))
    assert len(old) < max(len(pods), 1)
