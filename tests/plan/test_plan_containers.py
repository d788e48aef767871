"""Entries for containers of the Docker deployer: which container, whose port, and one word for all the rest."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from forwarders.spec import PortPolicy, PortRequest
from tests.plan.made import entry, make_plan, only
from watcher.cluster.kinds import RUN_ID_LABEL
from watcher.config.entries import Rule, Rules
from watcher.docker.containers import Containers, DockerContainer, Network, NetworkSettings, PublishedPort
from watcher.plan import run
from watcher.plan.facts import Facts
from watcher.plan.required_watches import is_settled, required_watches
from watcher.skaffold.modes import Mode

APP = DockerContainer(
    id="1",
    names=("/myapp",),
    image="myapp:v1",
    state="running",
    created=1,
    labels={RUN_ID_LABEL: "run-1"},
    ports=(PublishedPort(8080),),
    network_settings=NetworkSettings({"net": Network("172.18.0.2")}),
)
PUBLISHED = replace(
    APP,
    ports=(
        PublishedPort(8080, 9701, "::"),
        PublishedPort(8080, 9701, "0.0.0.0"),
        PublishedPort(5005, 5005, "127.0.0.1"),
    ),
)


def facts(*containers: DockerContainer, **more: object) -> Facts:
    given = {
        "modes": frozenset({Mode.USER}),
        "run_id": "run-1",
        "entries": (entry("container", "myapp"),),
        "containers": Containers(synced=True, containers=containers),
        **more,
    }
    return Facts(**given)  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize("names", ["myapp", "MyApp"])
def test_what_docker_publishes_is_shown(names: str) -> None:
    """Where Docker listens; nothing is bound for it."""
    plan = make_plan(facts(PUBLISHED, entries=(entry("container", names),)))
    [published] = plan.published
    assert (published.address, published.local_port, plan.forwards) == ("127.0.0.1", 9701, ())


def test_what_it_does_not_is_forwarded_to_the_container() -> None:
    """To its own address; a client's end of sending is passed on at once."""
    wanted = only(make_plan(facts(APP)))
    [endpoint] = wanted.endpoints
    assert (endpoint.pod.address, endpoint.pod.name, endpoint.port) == ("172.18.0.2", "myapp", 8080)
    assert wanted.spec.linger == 0


def test_a_local_port_that_portside_was_asked_for_is_its_own() -> None:
    """A forward of portside.yaml beside the port that Docker publishes."""
    own = entry("container", "myapp", source="direct", local_port=PortRequest(PortPolicy.EXPLICIT, 9751))
    assert only(make_plan(facts(PUBLISHED, entries=(own,)))).spec.port.number == 9751
    same = entry("container", "myapp", source="direct", local_port=PortRequest(PortPolicy.EXPLICIT, 9701))
    assert len(make_plan(facts(PUBLISHED, entries=(same,))).published) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(APP, id="0", names=("/myapp",), created=9, labels={}),
        replace(APP, id="0", created=9, labels={RUN_ID_LABEL: "older"}),
        replace(APP, id="0", created=9, state="exited"),
        replace(APP, id="0", created=0),
        replace(APP, id="0", created=9, names=("/myapp-x",), image="other:1"),
    ],
)
def test_the_runs_newest_running_container_is_meant(other: DockerContainer) -> None:
    """Neither a leftover, nor one that has ended, nor a stranger."""
    for order in ((APP, other), (other, APP)):
        [endpoint] = only(make_plan(facts(*order))).endpoints
        assert endpoint.pod.uid == "1"


def test_a_renamed_container_is_found_by_name() -> None:
    """Where its image has another name by now."""
    renamed = replace(APP, names=("/myapp-2",), image="sha256:12")
    assert only(make_plan(facts(renamed))).endpoints


@pytest.mark.parametrize(
    ("given", "waiting", "broken"),
    [
        (facts(replace(APP, network_settings=None)), "", "has no network of its own"),
        (
            facts(containers=Containers(synced=True, reachable=False, containers=(APP,))),
            "",
            "cannot be reached from here: publish its port 8080",
        ),
    ],
)
def test_why_nothing_serves(given: Facts, waiting: str, broken: str) -> None:
    """What it waits for, or what has to change."""
    wanted = only(make_plan(given))
    assert (wanted.waiting_for, wanted.endpoints) == (waiting, ())
    assert broken in wanted.broken


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (facts(), "there is no container myapp"),
        (facts(deployed=False), "there is no container myapp yet"),
        (facts(containers=Containers(problem="no engine")), "no engine"),
        (facts(replace(APP, state="exited")), "container myapp is exited"),
    ],
)
def test_nothing_is_bound_before_docker_has_published(given: Facts, reason: str) -> None:
    """The port that skaffold.yaml asks for is Docker's; an entry of the command line has a listener at once."""
    plan = make_plan(given)
    assert [passed.reason for passed in plan.not_requested] == [f"{reason}; Docker will publish it"]
    assert (plan.forwards, plan.skips) == ((), ())
    direct = make_plan(replace(given, entries=(entry("container", "myapp", source="direct"),)))
    assert reason in (only(direct).waiting_for or only(direct).broken)


def test_strangers_with_the_same_image_are_not_meant() -> None:
    """Once the run is known, only its containers are; asked of portside itself, any."""
    stranger = replace(APP, labels={}, image="docker.io/other/myapp:1", names=("/theirs",))
    assert make_plan(facts(stranger)).forwards == ()
    assert make_plan(facts(stranger, run_id="")).forwards
    direct = (entry("container", "myapp", source="direct"),)
    assert make_plan(facts(stranger, entries=direct)).forwards


def test_rules_judge_containers_too() -> None:
    """Kind container, by name."""
    rules = Rules(exclude=(Rule(origin="portside.yaml line 3", kind="container", name="my*"),))
    assert [skip.reason for skip in make_plan(facts(APP, rules=rules)).skips] == ["portside.yaml line 3 excludes it"]


def test_everything_of_kubernetes_is_one_word() -> None:
    """However many entries there are; and nothing is looked for in a cluster."""
    given = facts(APP, entries=(entry("service"), entry("pod", "db"), entry("container", "myapp", "http")))
    plan = make_plan(given)
    assert [skip.reason for skip in plan.skips] == [
        "the Docker deployer has only containers; it ignores service/web, pod/db",
        "a container's ports have no names: give the number",
    ]
    assert required_watches(given) == frozenset()
    assert is_settled(given, required_watches(given))
    assert not is_settled(replace(given, containers=Containers()), frozenset())


def test_debug_ports_that_docker_publishes_are_shown() -> None:
    """Beside the entries' own, in modes debug and pods; of this run's containers alone."""
    older = replace(PUBLISHED, id="2", names=("/old",), image="old:1", labels={RUN_ID_LABEL: "older"})
    modes = frozenset({Mode.USER, Mode.DEBUG})
    plan = make_plan(facts(PUBLISHED, older, modes=modes))
    assert [(one.subject.source, one.subject.remote_port, one.local_port) for one in plan.published] == [
        ("user", 8080, 9701),
        ("debug", 5005, 5005),
    ]


def test_nothing_of_a_cluster_is_looked_at() -> None:
    """A project that deploys to Docker alone has no service and no pod, whatever the modes."""
    everything = facts(APP, modes=frozenset(Mode))
    assert run.kinds_looked_at(everything) == frozenset()
    assert run.pods(everything) == []
