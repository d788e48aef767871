"""A workload's pods are those that it owns: two workloads may share every label, as charts write them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.plan.made import (
    Item,
    controller,
    entry,
    make_plan,
    meta_of,
    only,
    planned,
    pod,
    replica_set,
    service,
    workload,
    world,
)
from watcher.cluster.kinds import (
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    JOB,
    REPLICA_SET,
    REPLICA_SET_METADATA,
    REPLICATION_CONTROLLER,
    STATEFUL_SET,
    Kind,
    LabelSelector,
    OwnerReference,
    Pod,
    Resource,
)
from watcher.cluster.store import Problem, Watch
from watcher.plan.facts import Facts
from watcher.plan.verdicts import PlannedForward

SETS = Watch(REPLICA_SET_METADATA, "default")
SHARED = LabelSelector({"app": "shared"})


def owned(
    name: str, kind: str, uid: str, owner: str = "", *, app: str = "shared", template: str = "", age: int = 0
) -> Item:
    """A pod that the object with this uid controls; `template`: its pod-template-hash."""
    made, item = pod(name, app=app, owner=OwnerReference(kind, owner or uid, uid, controller=True), age=age)
    assert isinstance(item, Pod)
    labels = (item.metadata.labels or {}) | ({"pod-template-hash": template} if template else {})
    return made, replace(item, metadata=replace(item.metadata, labels=labels))


def asked(kind: Kind, name: str = "web") -> dict[str, object]:
    return {"entries": (entry(kind.singular, name, namespace="default", source="direct"),)}


def names(wanted: PlannedForward) -> list[str]:
    return [endpoint.pod.name for endpoint in wanted.endpoints]


@pytest.mark.parametrize("kind", [REPLICA_SET, STATEFUL_SET, DAEMON_SET, JOB], ids=lambda kind: kind.singular)
def test_of_two_workloads_with_the_same_labels_each_has_its_own_pods(kind: Kind) -> None:
    """The other's pod is newer and Ready, and never served."""
    items = [
        workload(kind, "web", selector=SHARED),
        workload(kind, "api", selector=SHARED),
        owned("web-0", kind.singular, "web"),
        owned("api-0", kind.singular, "api"),
        owned("migrate-0", "Job", "migrate"),
    ]
    assert names(only(planned(items, **asked(kind)))) == ["web-0"]
    assert names(only(planned(items, **asked(kind, "api")))) == ["api-0"]


def test_a_replication_controller_has_its_own_pods() -> None:
    """Its selector is a plain mapping."""
    items = [
        *controller(REPLICATION_CONTROLLER),
        owned("a", "Job", "other", app="web"),
        owned("b", "x", "web", app="web"),
    ]
    assert names(only(planned(items, **asked(REPLICATION_CONTROLLER)))) == ["b"]


def test_a_deployment_has_the_pods_of_its_replica_sets() -> None:
    """However these are called, for one that was orphaned may be adopted; those of the newest revision come first."""
    items = [
        workload(DEPLOYMENT, "web", selector=SHARED),
        workload(DEPLOYMENT, "api", selector=SHARED),
        replica_set("web", uid="1", revision=9),
        replica_set("web", uid="2", revision=10),
        replica_set("api", uid="3", revision=11),
        replica_set("orphan", uid="4", revision=8, owner="web"),
        *(owned(f"pod-{uid}", "ReplicaSet", uid) for uid in "1234"),
        owned("job", "Job", "5"),
    ]
    wanted = only(planned(items, **asked(DEPLOYMENT)))
    assert names(wanted) == ["pod-2", "pod-1", "pod-4"]
    assert [endpoint.outdated for endpoint in wanted.endpoints] == [False, True, True]


@pytest.mark.parametrize("text", ["", "x", "-1", "9" * 19, "9" * 30, "²"])
def test_a_revision_that_is_no_number_says_nothing(text: str) -> None:
    """Anybody may write the annotation; the ReplicaSet of the pod that was created last counts then."""
    items = [workload(DEPLOYMENT, "web", selector=SHARED)]
    for uid, age in (("1", 9), ("2", 0)):
        kind, one = replica_set("web", uid=uid)
        assert isinstance(one, Resource)
        annotations = {"deployment.kubernetes.io/revision": text}
        items.append((kind, replace(one, metadata=replace(one.metadata, annotations=annotations))))
        items.append(owned(f"pod-{uid}", "ReplicaSet", uid, f"web-{uid}", template=uid, age=age))
    wanted = only(planned(items, **asked(DEPLOYMENT)))
    assert [(e.pod.name, e.outdated) for e in wanted.endpoints] == [("pod-2", False), ("pod-1", True)]


def test_where_replica_sets_may_not_be_listed_their_names_tell() -> None:
    """A Deployment's name with the pods' template hash behind; that is no reason to forward nothing."""
    items = [
        workload(DEPLOYMENT, "web", selector=SHARED),
        owned("pod-1", "ReplicaSet", "1", "web-6c", template="6c"),
        owned("pod-2", "ReplicaSet", "2", "web-api-6c", template="6c"),
        owned("pod-3", "ReplicaSet", "3", "web-6c"),
        owned("pod-4", "Job", "4", "web-6c", template="6c"),
        owned("pod-5", "ReplicaSet", "5", "api-6c", template="6c"),
    ]
    facts = Facts(entries=(entry("deployment", namespace="default", source="direct"),))
    wanted = only(make_plan(world(facts, items, refused=[SETS])))
    assert (names(wanted), wanted.broken) == (["pod-1"], "")


def test_until_replica_sets_are_listed_the_pods_are_not_known() -> None:
    """An API server that is slow or away is waited for: a guess would serve somebody else's pod."""
    items = [workload(DEPLOYMENT, "web"), pod("web-0")]
    facts = world(Facts(entries=(entry("deployment", namespace="default", source="direct"),)), items)
    lists = {watch: found for watch, found in facts.cluster.objects.items() if watch != SETS}
    for problems, said in (({}, "listing replicasets in namespace default"), ({SETS: Problem("gone")}, "gone")):
        seen = replace(facts, cluster=replace(facts.cluster, objects=lists, problems=problems))
        wanted = only(make_plan(seen))
        assert (wanted.endpoints, wanted.waiting_for) == ((), said)


def test_a_cronjob_has_the_pods_of_its_own_newest_job() -> None:
    """Neither those of an older job that runs on, nor those of a job that somebody else started by hand."""
    target, _ = controller(CRON_JOB)
    items = [
        target,
        workload(JOB, "old", owner="cj", age=9, selector=SHARED),
        workload(JOB, "new", owner="cj", age=1, selector=SHARED),
        workload(JOB, "manual", selector=SHARED),
        *(owned(f"{name}-0", "Job", name) for name in ("old", "new", "manual")),
    ]
    assert names(only(planned(items, **asked(CRON_JOB)))) == ["new-0"]


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, "(other-0)"), (4, "(other-0, other-1, other-2 and 1 more)")],
)
def test_pods_that_belong_to_others_are_named(count: int, said: str) -> None:
    """Or a user would look for a mistake in labels that are right."""
    others = [owned(f"other-{n}", "Job", "other") for n in range(count)]
    wanted = only(planned([workload(STATEFUL_SET, selector=SHARED), *others], **asked(STATEFUL_SET)))
    assert wanted.waiting_for == f"statefulset web has no pod: what matches app=shared {said} belongs to others"


def test_a_pod_that_nothing_made_is_nobodys_until_it_is_adopted() -> None:
    """A bare pod with the right labels: the controller adopts it by an owner reference, and then it counts."""
    kind, bare = pod("bare")
    assert isinstance(bare, Pod)
    alone = kind, replace(bare, metadata=replace(bare.metadata, owner_references=(OwnerReference("Node", "n", "web"),)))
    for item, expected in ((alone, []), ((kind, bare), ["bare"])):
        assert names(only(planned([workload(REPLICA_SET), item], **asked(REPLICA_SET)))) == expected


def test_a_service_has_all_pods_that_it_selects() -> None:
    """Whoever made them: that is what its endpoints are."""
    items = [service("web"), pod("web-0"), owned("canary-0", "Job", "other", app="web")]
    assert set(names(only(planned(items)))) == {"web-0", "canary-0"}
    assert meta_of(items[0]).name == "web"
