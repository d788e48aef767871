"""The plan as answers: one verdict and one rule for each thing seen."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.plan.made import BOTH, RUN, WEB, deployment_of_run, entry, make_plan, pod, pod_of_run, service, world
from watcher.cluster.kinds import POD, RUN_ID_LABEL, OwnerReference, Pod, Service, ServicePort
from watcher.docker.containers import Containers, DockerContainer, PublishedPort
from watcher.plan.facts import Facts
from watcher.plan.plan import Explanation, explain
from watcher.skaffold.modes import Mode

PODS = frozenset({Mode.PODS})


def explained(facts: Facts) -> list[Explanation]:
    return list(explain(make_plan(facts), facts))


def test_what_is_forwarded_names_its_forwards_at_every_address() -> None:
    """A thing asked for at two addresses is one thing with two forwards."""
    facts = world(Facts(modes=BOTH, run_id=RUN, addresses=("127.0.0.1", "10.0.0.1")), WEB)
    [answer] = explained(facts)
    assert answer.forwarded
    assert answer.rule == "mode services: it is a service of this run"
    assert answer.forwards == tuple(f"services/default/service/web/8080/{a}" for a in ("127.0.0.1", "10.0.0.1"))


def test_what_is_not_forwarded_says_why() -> None:
    """A skip and what nobody asked for have no forwards, and the reason is the rule."""
    facts = world(Facts(modes=BOTH, run_id=RUN, entries=(entry(), entry(line=2))), WEB)
    answers = [(answer.forwarded, answer.rule) for answer in explained(facts)]
    assert answers == [
        (True, "it is asked for by skaffold.yaml line 1"),
        (False, "skaffold.yaml line 2 asks for what skaffold.yaml line 1 asks for already"),
    ]


@pytest.mark.parametrize("source", ["user", "direct"])
@pytest.mark.parametrize("port", [8080, "http"])
@pytest.mark.parametrize("modes", [frozenset({Mode.USER}), BOTH, frozenset({Mode.USER, Mode.PODS})])
def test_one_port_has_one_verdict(modes: frozenset[Mode], port: int | str, source: str) -> None:
    """An entry and a mode have both seen it: the answer is the entry's, by number or by name of the port."""
    kind, item = service()
    assert isinstance(item, Service)
    item = replace(item, spec=replace(item.spec, ports=(ServicePort(port=8080, name="http"),)))
    facts = Facts(modes=modes, run_id=RUN, explain_requested=True, entries=(entry(port=port, source=source),))
    facts = world(facts, [(kind, item), pod("web-0")])
    answers = [answer for answer in explained(facts) if answer.subject.resource_type.lower() == "service"]
    both = port == "http" and Mode.SERVICES in modes  # two forwards, as with Skaffold
    assert [(answer.forwarded, answer.rule) for answer in answers] == [
        (True, "it is asked for by skaffold.yaml line 1"),
        *([(True, "mode services: it is a service of this run")] if both else []),
    ]


def test_another_ports_verdict_stays() -> None:
    """The same number by UDP, or another port of the service, is another thing."""
    kind, item = service()
    assert isinstance(item, Service)
    ports = (ServicePort(port=8080), ServicePort(port=8080, protocol="UDP"), ServicePort(port=9090))
    facts = Facts(modes=frozenset({Mode.USER}), run_id=RUN, explain_requested=True, entries=(entry(),))
    facts = world(facts, [(kind, replace(item, spec=replace(item.spec, ports=ports))), pod("web-0")])
    answers = [(a.subject.remote_port, a.subject.protocol, a.forwarded) for a in explained(facts)]
    assert sorted(answers, key=str) == [(8080, "TCP", True), (8080, "UDP", False), (9090, "TCP", False)]


def test_a_pod_of_what_an_entry_asks_for() -> None:
    """Its owner is forwarded, and so is it."""
    facts = Facts(
        modes=frozenset({Mode.USER}), run_id=RUN, explain_requested=True, entries=(entry("deployment", "web"),)
    )
    answers = explained(world(facts, [deployment_of_run("web"), pod_of_run("x", "web")]))
    verdicts = {(a.subject.resource_type.lower(), a.forwarded) for a in answers if a.subject.remote_port in {"", 8080}}
    assert verdicts == {("deployment", True), ("pod", True)}


def test_what_only_explain_looks_at_moves_no_entry() -> None:
    """A Deployment of the run in another namespace is seen then, and the service is still looked for where it was."""
    facts = Facts(run_id=RUN, entries=(entry(source="direct"),), namespaces=frozenset({"shop"}))
    plans = [
        make_plan(world(replace(facts, explain_requested=asked), [deployment_of_run("web")])) for asked in (False, True)
    ]
    assert [plan.forwards[0].subject.namespace for plan in plans] == ["shop", "shop"]


def test_a_pod_is_not_forwarded_if_its_owner_cannot_be() -> None:
    """The entry's Deployment does not exist, though a pod of it does: the pod has the same reason."""
    facts = Facts(
        modes=frozenset({Mode.USER}), run_id=RUN, explain_requested=True, entries=(entry("deployment", "web"),)
    )
    answers = explained(world(facts, [pod_of_run("x", "web")]))
    assert [(a.forwarded, a.reason) for a in answers if a.forwards] == [
        (False, "deployment web does not exist in namespace default")
    ] * 2


def test_a_pod_goes_with_what_made_it() -> None:
    """Its forwards are its owner's; a pod that nothing made has its own verdicts, and no second ones."""
    kind, lonely = pod("lonely")
    assert isinstance(lonely, Pod)
    alone = kind, replace(lonely, metadata=replace(lonely.metadata, labels={RUN_ID_LABEL: RUN}, owner_references=None))
    facts = world(Facts(modes=PODS, run_id=RUN), [deployment_of_run("web"), pod_of_run("x", "web"), alone])
    answers = explained(facts)
    own = [answer for answer in answers if answer.subject.resource_type == "deployment"]
    [its_pod] = [answer for answer in answers if answer.subject.resource_name == "web-6c-x"]
    assert its_pod.rule == "it goes with deployment web"
    assert sorted(its_pod.forwards) == sorted(ident for answer in own for ident in answer.forwards)
    assert [answer.rule for answer in answers if answer.subject.resource_name == "lonely"] == [
        "mode pods: its pod is of this run"
    ]


def test_what_docker_publishes_is_forwarded_by_docker() -> None:
    """It leads somewhere, by its own rule, and is no forward of ours."""
    container = DockerContainer(
        id="1",
        names=("/app",),
        image="app:v1",
        state="running",
        created=1,
        labels={RUN_ID_LABEL: RUN},
        ports=(PublishedPort(8080, 9701, "0.0.0.0"),),
    )
    everything = Facts(
        modes=frozenset({Mode.USER}),
        run_id=RUN,
        entries=(entry("container", "app"),),
        containers=Containers(synced=True, containers=(container,)),
    )
    [answer] = explained(everything)
    assert (answer.forwarded, answer.rule) == (True, "it is asked for by skaffold.yaml line 1")


@pytest.mark.parametrize("kind", ["StatefulSet", "ReplicaSet", "DaemonSet", "Job"])
def test_a_pod_goes_with_what_made_it_whatever_that_is(kind: str) -> None:
    """Every kind of owner has one verdict on each pod of it."""
    _, item = pod("web-0", owner=OwnerReference(kind, "web", "web", controller=True))
    assert isinstance(item, Pod)
    labelled = replace(item, metadata=replace(item.metadata, labels={RUN_ID_LABEL: RUN}))
    answers = explained(world(Facts(modes=PODS, run_id=RUN), [(POD, labelled)]))
    [its_pod] = [answer for answer in answers if answer.subject.resource_name == "web-0"]
    assert its_pod.rule == f"it goes with {kind.lower()} web"
