"""Skaffold's own forwards: how long they count, what replaces them, and what is not Skaffold's."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.skaffold.made import fold, history, port, task
from tests.skaffold.recorded import events, folded
from watcher.skaffold.events import EventBody, PortEvent
from watcher.skaffold.port_events import ECHO_ID
from watcher.skaffold.state import SkaffoldFacts, SkaffoldState, apply

APP = ("deployment", "app", "parity", "http")


def test_docker_forwards_are_skaffolds_own() -> None:
    """The Docker deployer publishes ports by itself, also with --port-forward=off."""
    own = folded("docker-devoff").facts.own_forwards
    assert sorted((forward.resource_type, forward.local_port) for forward in own.values()) == [
        ("container", 5005),
        ("container", 9701),
        ("container", 9705),
    ]


def test_debug_port_comes_after_the_loop() -> None:
    """The debugger's port is announced after DevLoop Succeeded and is Skaffold's own as well."""
    own = folded("debug").facts.own_forwards
    assert ("pod", "app-7654dd9bc7-9567x", "parity", 5005) in own


def test_own_forwards_stay_through_a_redeploy() -> None:
    """While Skaffold takes its forwards down and up again their ports are still its own."""
    state = SkaffoldState()
    seen = False
    for event in events("dev-redeploy"):
        state = apply(state, event)
        seen = seen or APP in state.facts.own_forwards
        assert not seen or APP in state.facts.own_forwards


def test_pods_forwards_outlive_the_loops_end_but_not_the_next_deploy() -> None:
    """A pod's forward that was not announced again is dropped by the deploy after the next."""
    loops: list[EventBody] = []
    for n in (1, 2, 3):
        loops += [task("Deploy", "InProgress", n), task("Deploy", "Succeeded", n), task("PortForward", "Succeeded", n)]
        loops += [task("DevLoop", "Succeeded", n)]
        loops += [port("app-1", 5005, resource_type="pod")] if n == 1 else []
    before_third = fold(history(*loops[:9]))
    assert len(before_third.own_forwards) == 1
    assert not fold(history(*loops)).own_forwards


def test_one_port_at_two_addresses_is_two_forwards() -> None:
    """Only what has the same local address replaces a forward."""
    web, api = port("web", 9001), port("api", 9001)
    assert len(fold(history(web, replace(api, address="127.0.0.2"))).own_forwards) == 2
    assert len(fold(history(web, api)).own_forwards) == 1


def test_own_forward_is_keyed_by_lower_case_type() -> None:
    """skaffold.yaml's spelling of a type makes no second forward."""
    own = fold(history(port("web", 9001, resource_type="Service"), port("web", 9002))).own_forwards
    assert [(key[0], forward.local_port) for key, forward in own.items()] == [("service", 9002)]


def test_one_local_port_has_one_holder() -> None:
    """A new pod on the same local port replaces the old one."""
    first, second = port("app-1", 5005, resource_type="pod"), port("app-2", 5005, resource_type="pod")
    assert [key[1] for key in fold(history(first, second)).own_forwards] == ["app-2"]


@pytest.mark.parametrize(
    "event",
    [
        replace(port("web", 8080), id=ECHO_ID),
        replace(port("web", 8080), id="kpf"),
        replace(port("web", 8080), task_id=""),
        replace(port("web", 8080), task_id="PortForward-x"),
        replace(port("web", 8080), task_id="PortForward-"),
        replace(port("web", 8080), task_id="PortForward-²"),
        port("web", -1),
        port("web", 0),
    ],
)
def test_echoes_and_posted_events_are_not_skaffolds_own(event: PortEvent) -> None:
    """What was posted to Skaffold, by us or by another tool, and events without a port are not its own forwards."""
    assert fold(history(event)) == SkaffoldFacts()
