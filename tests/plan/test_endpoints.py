"""From a target to its pods: whom each kind selects, in which order, and why nobody can serve."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan.made import Item, controller, meta, meta_of, pod, result_of, service, with_replica_sets, workload
from watcher.cluster.kinds import (
    CRON_JOB,
    DEPLOYMENT,
    JOB,
    KINDS,
    POD,
    REPLICA_SET_METADATA,
    ContainerPort,
    Kind,
    LabelSelector,
    Object,
    OwnerReference,
    Pod,
    Requirement,
    Resource,
    ServicePort,
    Workload,
)
from watcher.cluster.store import Collection
from watcher.plan.endpoints import RelatedLists, endpoints_of
from watcher.plan.pods import EndpointResult

OF_WEB = OwnerReference("ReplicaSet", "web", "web", controller=True)


def find(target: Item, port: int | str, *others: Item) -> EndpointResult:
    kind, item = target
    pods = Collection(other for _, other in others if isinstance(other, Pod))
    jobs = Collection(other for other_kind, other in others if other_kind is JOB and isinstance(other, Workload))
    there = with_replica_sets([target, *others])
    sets = Collection(one for kind_of, one in there if kind_of is REPLICA_SET_METADATA and isinstance(one, Resource))
    return result_of(endpoints_of(item, kind.singular, port, RelatedLists(pods, jobs, replica_sets=sets)))


def served(found: EndpointResult) -> list[tuple[str, int, bool]]:
    return [(endpoint.pod.name, endpoint.port, endpoint.ready) for endpoint in found.endpoints]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.singular)
def test_every_kind_finds_its_pods_by_number_and_by_name(kind: Kind) -> None:
    """Ports by number need no declaration; by name they are the pod's own, or the service's."""
    own, other = pod("web"), pod("db", app="db")
    target, *more = controller(kind) or (own,)
    port = 8080 if kind.singular == "service" else 5000
    assert served(find(target, port, own, other, *more)) == [("web", port, True)]
    assert served(find(target, "http", own, other, *more)) == [("web", 8080, True)]


def test_ready_first_then_the_newest_then_by_name() -> None:
    """Pods that are being deleted, or do not run, are out."""
    pods = [
        pod("old", age=30),
        pod("new", age=1),
        pod("also-new", age=1),
        pod("newest-but-not-ready", ready=False),
        pod("deleting", deleting=True),
        pod("pending", phase="Pending", ready=False),
        pod("done", phase="Succeeded", ready=False),
    ]
    found = find(workload(DEPLOYMENT), 80, *pods)
    assert [name for name, _, _ in served(found)] == ["also-new", "new", "old", "newest-but-not-ready"]
    assert (found.waiting_for, found.broken) == ("", "")


def test_each_pod_has_its_own_number_for_a_name() -> None:
    """During a rollout that moves a named port, old and new pods differ; one without the name is left out."""
    pods = [
        pod("old", age=9, ports=(ContainerPort(8080, "http"),)),
        pod("new", ports=(ContainerPort(9090, "http"),)),
        pod("odd", age=5, ports=()),
    ]
    assert served(find(service("web", ServicePort(80, "", "TCP", "http")), 80, *pods)) == [
        ("new", 9090, True),
        ("old", 8080, True),
    ]


@pytest.mark.parametrize(("target_port", "number"), [(None, 80), (8081, 8081), ("http", 8080), ("side", 15000)])
def test_a_services_port_is_translated(target_port: int | str | None, number: int) -> None:
    """targetPort by number, by name (a sidecar's too), or absent: the service's own number."""
    target = service("web", ServicePort(80, "front", "TCP", target_port))
    one = pod("web-0", sidecar=ContainerPort(15000, "side"))
    assert served(find(target, 80, one)) == served(find(target, "front", one)) == [("web-0", number, True)]


@pytest.mark.parametrize("target_port", [8081, "http"])
def test_a_headless_service_ignores_its_target_port(target_port: int | str) -> None:
    """Its clients connect to a pod's address at the service's own port, and so does kubectl port-forward."""
    target = service("web", ServicePort(80, "front", "TCP", target_port), cluster_ip="None")
    assert (
        served(find(target, 80, pod("web-0"))) == served(find(target, "front", pod("web-0"))) == [("web-0", 80, True)]
    )


def test_the_tcp_port_is_meant_where_udp_has_the_same_number() -> None:
    """As with DNS on 53."""
    target = service("dns", ServicePort(53, "dns", "UDP", 5353), ServicePort(53, "dns-tcp", "TCP", 5354))
    assert served(find(target, 53, pod("dns-0", app="dns"))) == [("dns-0", 5354, True)]


@pytest.mark.parametrize(
    ("target", "port", "pods", "broken"),
    [
        (
            service("web", ServicePort(80, "web"), ServicePort(9090, "metrics"), ServicePort(7, "")),
            "http",
            (),
            "service web has no port http (it has 80/web, 9090/metrics, 7)",
        ),
        (
            workload(DEPLOYMENT),
            "grpc",
            (pod("web-0"),),
            "deployment web: no container of pod web-0 declares a port named grpc (it has 8080/http)",
        ),
        (
            workload(DEPLOYMENT),
            "dns",
            (pod("web-0", ports=(ContainerPort(53, "dns", "UDP"),)),),
            "deployment web: port 53 is UDP",
        ),
    ],
)  # fmt: skip
def test_what_cannot_work_until_it_changes(target: Item, port: int | str, pods: tuple[Item, ...], broken: str) -> None:
    """A reason that names the object, and what there is instead."""
    found = find(target, port, *pods)
    assert broken in found.broken
    assert found.endpoints == ()


@pytest.mark.parametrize(
    ("target", "pods", "waiting_for"),
    [
        (workload(DEPLOYMENT), (), "deployment web: no pod matches app=web"),
        (service("web", selector={"b": "2", "a": "1"}), (), "service web: no pod matches a=1,b=2"),
        (controller(CRON_JOB)[0], (), "cronjob web has not started a job yet"),
        (
            workload(DEPLOYMENT),
            (pod("web-0", phase="Pending", ready=False, waiting="ImagePullBackOff"),),
            "no pod of deployment web is ready: web-0 is Pending (ImagePullBackOff)",
        ),
        (workload(DEPLOYMENT), (pod("web-0", deleting=True),), "web-0 is Terminating"),
        (workload(DEPLOYMENT), (pod("web-0", ready=False),), "web-0 is Running but not Ready"),
        (
            workload(DEPLOYMENT),
            tuple(pod(f"web-{n}", phase="Pending", ready=False, age=n) for n in range(5)),
            "web-0 is Pending, web-1 is Pending, web-2 is Pending",
        ),
    ],
)
def test_what_is_waited_for(target: Item, pods: tuple[Item, ...], waiting_for: str) -> None:
    """The selector that nothing matches, or the newest pods and their state."""
    found = find(target, 8080, *pods)
    assert found.waiting_for.endswith(waiting_for)
    assert found.broken == ""


def test_a_running_pod_that_is_not_ready_is_an_endpoint_still() -> None:
    """Whether it may serve is a question of patience, and that is the forward's."""
    assert served(find(workload(DEPLOYMENT), 80, pod("web-0", ready=False))) == [("web-0", 80, False)]


def test_a_cronjob_leads_to_its_newest_job() -> None:
    """kubectl has no selector for a cronjob; another cronjob's jobs do not count."""
    target, _ = controller(CRON_JOB)
    jobs = [
        workload(JOB, "old", owner="cj", age=9),
        workload(JOB, "new", owner="cj", age=1),
        workload(JOB, "newest", owner="another"),
    ]
    pods = [pod(f"{name}-0", app=name) for name in ("old", "new", "newest")]
    assert served(find(target, 80, *jobs, *pods)) == [("new-0", 80, True)]


@pytest.mark.parametrize(
    ("requirement", "apps", "said"),
    [
        (Requirement("app", "In", ("a", "b")), {"a", "b"}, "app in (a,b)"),
        (Requirement("app", "NotIn", ("a",)), {"b", "c"}, "app notin (a)"),
        (Requirement("gone", "NotIn", ("a",)), {"a", "b", "c"}, "gone notin (a)"),
        (Requirement("app", "Exists"), {"a", "b", "c"}, "app"),
        (Requirement("gone", "Exists"), set(), "gone"),
        (Requirement("gone", "DoesNotExist"), {"a", "b", "c"}, "!gone"),
        (Requirement("app", "DoesNotExist"), set(), "!app"),
        (Requirement("app", "Gt", ("1",)), set(), "app Gt (1)"),
    ],
)
def test_match_expressions(requirement: Requirement, apps: set[str], said: str) -> None:
    """metav1.LabelSelector's operators, and how an expression is written for people."""
    target = workload(DEPLOYMENT, selector=LabelSelector(match_expressions=(requirement,)))
    found = find(target, 80, *(pod(app, app=app, owner=OF_WEB) for app in "abc"))
    assert {name for name, _, _ in served(found)} == apps
    if not apps:
        assert found.waiting_for == f"deployment web: no pod matches {said}"


def test_an_empty_selector_selects_nothing() -> None:
    """No controller's may be empty, and all pods of a namespace are never meant."""
    target = (DEPLOYMENT, Workload(metadata=meta("web")))
    assert find(target, 80, pod("web-0")).waiting_for == "deployment web: no pod matches no selector"
    assert find(workload(DEPLOYMENT, selector=LabelSelector({})), 80, pod("web-0")).endpoints == ()


def test_an_unknown_object_is_said_to_be_unknown() -> None:
    """A kind that somebody adds to the table alone."""
    assert "do" not in find((POD, Object()), 80).waiting_for
    assert find((POD, Object()), 80).broken == "portside does not know how to find the pods of a pod"


pods = st.builds(
    pod,
    st.sampled_from("abcdef"),
    ready=st.booleans(),
    phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
    age=st.integers(0, 3),
    deleting=st.booleans(),
    waiting=st.sampled_from(["", "CrashLoopBackOff"]),
)


@settings(deadline=None)  # two shared cores: time says nothing here
@given(st.lists(pods, unique_by=lambda item: meta_of(item).name), st.randoms(), st.sampled_from([80, "http", "x"]))
def test_the_order_of_pods_does_not_matter(all_pods: list[Item], random: Random, port: int | str) -> None:
    """Equal pods, in whatever order the API gave them, give equal endpoints and equal reasons."""
    shuffled = list(all_pods)
    random.shuffle(shuffled)
    target = workload(DEPLOYMENT)
    found = find(target, port, *all_pods)
    assert found == find(target, port, *shuffled)
    ready = [endpoint.ready for endpoint in found.endpoints]
    assert ready == sorted(ready, reverse=True)
    assert any(ready) or found.waiting_for or found.broken
