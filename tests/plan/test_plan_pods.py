"""Modes pods and debug: which pods count, which of their ports, and names that outlive them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from msgspec.structs import replace

from forwarders.spec import PortPolicy, PortRequest
from tests.plan.made import USER, Item, held, ids, make_plan, meta, only, planned, world
from watcher.cluster.kinds import (
    DEPLOYMENT,
    JOB,
    POD,
    REPLICA_SET,
    RUN_ID_LABEL,
    STATEFUL_SET,
    Condition,
    ContainerPort,
    LabelSelector,
    ObjectMeta,
    OwnerReference,
    Pod,
    PodContainer,
    PodSpec,
    PodStatus,
    PodTemplate,
    Workload,
    WorkloadSpec,
    WorkloadStatus,
)
from watcher.config.entries import Rule, Rules
from watcher.plan.facts import Facts
from watcher.plan.plan import explain
from watcher.plan.ports import DEBUG_ANNOTATION
from watcher.skaffold.modes import Mode

RUN = {RUN_ID_LABEL: "run-1"}
PODS, DEBUG = frozenset({Mode.PODS}), frozenset({Mode.DEBUG})
HTTP, JDWP = ContainerPort(8080, "http"), ContainerPort(5005, "jdwp")
APP = PodContainer(name="app", image="localhost:5000/app:v1@sha256:12", ports=(HTTP, JDWP))
OF_APP = PodSpec((APP,))
SIDE = PodContainer(name="side", image="envoy:1", ports=(ContainerPort(81, "side"),))
LISTED = {DEBUG_ANNOTATION: '{"app":{"runtime":"jvm","ports":{"jdwp":5005}}}'}


def made_by(kind: str, name: str, pod: str, *, annotations: Mapping[str, str] = {}, **fields: object) -> Item:
    """A labelled pod of this owner; a Deployment's has a ReplicaSet between."""
    labels = dict(RUN)
    owner = OwnerReference(kind, name, "uid", controller=True)
    if kind == "Deployment":
        labels["pod-template-hash"] = "6c"
        owner = OwnerReference("ReplicaSet", f"{name}-6c", "uid", controller=True)
    metadata = replace(
        meta(pod, labels=labels), annotations=dict(annotations), owner_references=(owner,) if kind else None
    )
    status = PodStatus(phase="Running", conditions=(Condition("Ready", "True"),))
    made = Pod(metadata=metadata, spec=PodSpec((APP,)), status=status)
    return POD, replace(made, **fields)


def deployment(name: str = "app", spec: PodSpec = OF_APP) -> Item:
    template = PodTemplate(ObjectMeta(), spec)
    return DEPLOYMENT, Workload(
        metadata=meta(name, labels=RUN), spec=WorkloadSpec(LabelSelector({"app": name}), template)
    )


def test_every_port_is_forwarded_and_asked_for() -> None:
    """Sidecars' and those below 1024 too, once one image of the pod was built by the run."""
    plan = planned(
        [made_by("Deployment", "app", "app-6c-x", spec=PodSpec((APP, SIDE)))], modes=PODS, artifacts=("app",)
    )
    assert {wanted.id: wanted.spec.port for wanted in plan.forwards} == {
        "pods/default/deployment/app/app/jdwp/5005/127.0.0.1": PortRequest(PortPolicy.PREFERRED, 5005),
        "pods/default/deployment/app/app/http/8080/127.0.0.1": PortRequest(PortPolicy.PREFERRED, 8080),
        "pods/default/deployment/app/side/side/81/127.0.0.1": PortRequest(PortPolicy.PREFERRED, 81),
    }
    assert {wanted.spec.patience for wanted in plan.forwards} == {0.0}
    subject = plan.forwards[0].subject
    assert (subject.source, subject.resource_type, subject.container) == ("pods", "deployment", "app")


@pytest.mark.parametrize(
    ("artifact", "counts"), [("app", True), ("localhost:5000/app", True), ("other", False), ("pp", False)]
)
def test_pods_count_by_the_image_that_the_run_built(artifact: str, counts: bool) -> None:  # noqa: FBT001 - a row
    """Whatever default-repo, tag and digest; what does not count is an answer, not news."""
    plan = planned([made_by("Deployment", "app", "app-6c-x")], modes=PODS, artifacts=(artifact,))
    assert bool(plan.forwards) == counts
    assert [passed.reason for passed in plan.not_requested] == (
        [] if counts else ["this run built none of its images (localhost:5000/app:v1@sha256:12)"]
    )
    assert plan.skips == ()


def test_an_older_runs_pods_do_not_count() -> None:
    """Its label tells."""
    kind, item = made_by("Deployment", "app", "app-6c-x")
    assert isinstance(item, Pod)
    old = kind, replace(item, metadata=replace(item.metadata, labels={RUN_ID_LABEL: "older"}))
    assert planned([old], modes=PODS).forwards == ()


def test_debug_forwards_what_the_annotation_lists() -> None:
    """By container and number; the other ports are passed over without a word."""
    plan = planned([made_by("Deployment", "app", "app-6c-x", annotations=LISTED)], modes=DEBUG)
    assert ids(plan) == ["debug/default/deployment/app/app/jdwp/5005/127.0.0.1"]
    assert [passed.subject.remote_port for passed in plan.not_requested] == [8080]
    assert plan.skips == ()


def test_a_broken_annotation_skips_its_pods_alone() -> None:
    """One line that names it."""
    items = [
        made_by("Deployment", "bad", "bad-6c-x", annotations={DEBUG_ANNOTATION: "{"}),
        made_by("Deployment", "good", "good-6c-x", annotations=LISTED),
    ]
    plan = planned(items, modes=DEBUG)
    assert ids(plan) == ["debug/default/deployment/good/app/jdwp/5005/127.0.0.1"]
    [skip] = plan.skips
    assert skip.subject.resource_name == "bad"
    assert DEBUG_ANNOTATION in skip.reason


def test_one_pods_broken_annotation_takes_no_other_pods_forward() -> None:
    """A pod that is on its way out may have any."""
    items = [
        made_by("Deployment", "app", "app-6c-x", annotations=LISTED),
        made_by("Deployment", "app", "app-6c-y", annotations={DEBUG_ANNOTATION: "{"}),
    ]
    assert ids(planned(items, modes=DEBUG)) == ["debug/default/deployment/app/app/jdwp/5005/127.0.0.1"]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
@pytest.mark.parametrize("condition", ["Complete", "Failed"])
def test_a_job_that_is_over_is_waited_for_no_more(phase: str, condition: str) -> None:
    """Its pods will not run again; while it goes on, the next one may."""
    job = Workload(
        metadata=meta("app", labels=RUN),
        spec=WorkloadSpec(template=PodTemplate(spec=OF_APP)),
        status=WorkloadStatus((Condition(condition, "True"),)),
    )
    made = made_by("Job", "app", "app-x", status=PodStatus(phase=phase))
    plan = planned([(JOB, job), made], modes=PODS)
    assert plan.forwards == ()
    assert [passed.reason for passed in plan.not_requested] == ["it has run to its end"]
    going_on = replace(job, status=WorkloadStatus())
    assert len(planned([(JOB, going_on), made], modes=PODS).forwards) == 2


def test_explain_lists_pods_in_every_mode() -> None:
    """Each container and port, once, and each pod."""
    facts = world(
        Facts(modes=USER, run_id="run-1", explain_requested=True),
        [deployment(), made_by("Deployment", "app", "app-6c-x")],
    )
    found = explain(make_plan(facts), facts)
    assert [(one.subject.resource_type, one.subject.remote_port, one.rule) for one in found] == [
        ("deployment", 5005, "modes pods and debug are off"),
        ("deployment", 8080, "modes pods and debug are off"),
        ("pod", "", "it goes with deployment app"),
    ]


@pytest.mark.parametrize(
    ("kind", "key"),
    [("Deployment", "deployment/app"), ("StatefulSet", "statefulset/app"), ("Rollout", "rollout/app"), ("", "pod/x")],
)
def test_forwards_are_named_after_what_outlives_the_pod(kind: str, key: str) -> None:
    """A Deployment, not its ReplicaSet; kinds that nobody here knows, too; the pod only where nothing made it."""
    pods = PodSpec((replace(APP, ports=(HTTP,)),))
    assert ids(planned([made_by(kind, "app", "x", spec=pods)], modes=PODS)) == [
        f"pods/default/{key}/app/http/8080/127.0.0.1"
    ]


def test_a_forward_is_there_before_and_after_its_pods() -> None:
    """Its ports stand in the template: without a pod connections wait."""
    without = planned([deployment()], modes=PODS)
    pods = [made_by("Deployment", "app", name) for name in ("app-6c-x", "app-6c-y")]
    with_pods = planned([deployment(), *pods], modes=PODS)
    assert ids(without) == ids(with_pods)
    assert all(not wanted.endpoints and wanted.waiting_for for wanted in without.forwards)
    assert all([endpoint.pod.name for endpoint in wanted.endpoints] for wanted in with_pods.forwards)


@pytest.mark.parametrize(
    ("facts", "there"),
    [({"deployed": False}, False), ({}, True), ({"deployed": False, "former_run_ids": frozenset({"older"})}, True)],
)
def test_in_the_first_deploy_forwards_begin_with_the_pods(facts: dict[str, object], there: bool) -> None:  # noqa: FBT001 - a row
    """So that services have their ports by then; afterwards a template is enough."""
    without = planned([deployment()], modes=PODS, **facts)
    assert bool(without.forwards) == there
    assert without.skips == ()
    assert len(planned([deployment(), made_by("Deployment", "app", "x")], modes=PODS, **facts).forwards) == 2


@pytest.mark.parametrize("phase", ["Pending", "Running", "Failed"])
@pytest.mark.parametrize("ready", [True, False])
@pytest.mark.parametrize("deleting", [True, False])
def test_status_changes_do_not_flap(phase: str, ready: bool, deleting: bool) -> None:  # noqa: FBT001 - rows
    """While there is a pod there is its forward; only where it leads changes."""
    kind, item = made_by("StatefulSet", "db", "db-0")
    assert isinstance(item, Pod)
    if deleting:
        item = replace(item, metadata=replace(item.metadata, deletion_timestamp="2026-11-23T12:00:00Z"))
    condition = Condition("Ready", "True" if ready else "False")
    plan = planned([(kind, replace(item, status=PodStatus(phase=phase, conditions=(condition,))))], modes=PODS)
    assert len(plan.forwards) == 2
    assert all(bool(wanted.endpoints) == (phase == "Running" and not deleting) for wanted in plan.forwards)


def test_a_pod_without_the_port_does_not_serve_it() -> None:
    """While two templates are out, each port is forwarded to the pods that have it."""
    old = made_by("Deployment", "app", "app-6c-old", spec=PodSpec((replace(APP, ports=(HTTP,)),)))
    new = made_by("Deployment", "app", "app-6c-new", spec=PodSpec((replace(APP, ports=(JDWP,)),)))
    leads = {w.subject.remote_port: [e.pod.name for e in w.endpoints] for w in planned([old, new], modes=PODS).forwards}
    assert leads == {8080: ["app-6c-old"], 5005: ["app-6c-new"]}


@pytest.mark.parametrize("number", [-1, 0, 65536, 1 << 70])
def test_a_number_that_no_port_has_is_skipped(number: int) -> None:
    """No real API server keeps one, and binding it would raise."""
    spec = PodSpec((replace(APP, ports=(ContainerPort(number),)),))
    plan = planned([made_by("Deployment", "app", "app-6c-x", spec=spec)], modes=PODS)
    assert [skip.reason for skip in plan.skips] == [f"{number} is no port: ports are numbers from 1 to 65535"]
    assert plan.forwards == ()


def test_a_port_that_says_tcp_is_called_as_one_that_says_nothing() -> None:
    """The API server writes TCP where a manifest has no protocol: the forward keeps its id."""
    said = msgspec.json.decode(b'{"containerPort": 8080, "name": "http", "protocol": "TCP"}', type=ContainerPort)
    plans = [
        planned([deployment(spec=PodSpec((replace(APP, ports=(port,)),)))], modes=PODS, artifacts=("app",))
        for port in (HTTP, said)
    ]
    assert ids(plans[0]) == ids(plans[1]) != []


def test_udp_is_skipped_with_a_word() -> None:
    """Once a port."""
    spec = PodSpec((replace(APP, ports=(ContainerPort(53, "dns", "UDP"),)),))
    plan = planned([deployment(spec=spec), made_by("Deployment", "app", "app-6c-x", spec=spec)], modes=PODS)
    assert [skip.reason for skip in plan.skips] == ["port 53 is UDP, and Kubernetes forwards TCP only"]


def test_rules_judge_pods_too() -> None:
    """By owner, labels and port."""
    exclude = Rules(exclude=(Rule(origin="portside.yaml line 3", name="a*", port="jdwp"),))
    plan = planned([deployment()], modes=PODS, rules=exclude)
    assert ids(plan) == ["pods/default/deployment/app/app/http/8080/127.0.0.1"]
    assert [skip.reason for skip in plan.skips] == ["portside.yaml line 3 excludes it"]
    include = Rules(include=(Rule(origin="portside.yaml line 3", kind="statefulset"),))
    assert planned([deployment()], modes=PODS, rules=include).forwards == ()


def test_a_selector_stands_in_for_the_label() -> None:
    """`watch --cluster --selector`: labelled by Skaffold or not."""
    kind, item = (
        STATEFUL_SET,
        Workload(
            metadata=meta("db", labels={"tier": "data"}),
            spec=WorkloadSpec(template=PodTemplate(spec=PodSpec((replace(APP, ports=(HTTP,)),)))),
        ),
    )
    assert only(planned([(kind, item), deployment()], modes=PODS, run_id="", selector="tier=data")).id == (
        "pods/default/statefulset/db/app/http/8080/127.0.0.1"
    )


def test_a_container_without_ports_is_an_answer() -> None:
    """It is seen and declares nothing; the pod's other containers are forwarded."""
    quiet = PodContainer(name="quiet", image="app:1")
    plan = planned([made_by("Deployment", "app", "app-6c-x", spec=PodSpec((APP, quiet)))], modes=PODS)
    assert [(p.subject.container, p.reason) for p in plan.not_requested] == [("quiet", "it declares no port")]
    assert len(plan.forwards) == 2


def test_debug_without_the_annotation_forwards_nothing() -> None:
    """A pod that Skaffold did not make debuggable has no debug port."""
    plan = planned([made_by("Deployment", "app", "app-6c-x")], modes=DEBUG)
    assert plan.forwards == ()
    assert {passed.subject.remote_port for passed in plan.not_requested} == {8080, 5005}


def test_what_skaffold_forwards_of_a_pod_is_left_to_it() -> None:
    """Skaffold's own forwards of pods name the pod, ours what made it."""
    own = held("pod", "app-6c-x", 5005, 56268)
    plan = planned([made_by("Deployment", "app", "app-6c-x", annotations=LISTED)], modes=DEBUG, own_forwards=(own,))
    assert plan.forwards == ()
    [skip] = plan.skips
    assert skip.reason == "Skaffold forwards it itself, to 127.0.0.1:56268; start it with --port-forward=off"


def test_what_skaffold_forwards_of_another_pod_changes_nothing() -> None:
    """The debug port is ours."""
    own = held("pod", "db-0", 5005, 56268)
    plan = planned([made_by("Deployment", "app", "app-6c-x", annotations=LISTED)], modes=DEBUG, own_forwards=(own,))
    assert [wanted.subject.remote_port for wanted in plan.forwards] == [5005]


def test_only_a_controller_owns_a_pod() -> None:
    """Other owner references (a garbage collector's) name nothing: the pod is its own owner."""
    kind, item = made_by("", "", "alone")
    assert isinstance(item, Pod)
    referred = replace(item.metadata, owner_references=(OwnerReference("ConfigMap", "x", "uid"),))
    plan = planned([(kind, replace(item, metadata=referred))], modes=PODS)
    assert {wanted.subject.resource_type for wanted in plan.forwards} == {"pod"}


def test_what_a_deployment_made_is_the_deployments() -> None:
    """Its ReplicaSet is labelled too, and makes the same pods: no second forward."""
    controlled = replace(
        meta("app-6c", labels=RUN), owner_references=(OwnerReference("Deployment", "app", "uid", controller=True),)
    )
    made = (
        REPLICA_SET,
        Workload(
            metadata=controlled, spec=WorkloadSpec(LabelSelector({"app": "app"}), PodTemplate(ObjectMeta(), OF_APP))
        ),
    )
    items = [deployment(), made, made_by("Deployment", "app", "app-6c-x")]
    assert {wanted.subject.resource_type for wanted in planned(items, modes=PODS).forwards} == {"deployment"}
