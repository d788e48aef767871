"""What holds for entries and services together: strict ports, Skaffold's own forwards, the recorded modes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from forwarders.spec import Ask, PortWish
from tests.plan.made import (
    BOTH,
    SERVICES,
    USER,
    WEB,
    entry,
    planned,
    pod,
    service,
    workload,
)
from watcher.cluster.kinds import DEPLOYMENT
from watcher.cluster.objects import ServicePort
from watcher.plan.facts import OwnForward
from watcher.skaffold.modes import Mode


def test_strict_ports_are_demands() -> None:
    """For every forward that asks for a number; the others ask for none still."""
    items = [service("web"), service("low", ServicePort(80))]
    plan = planned(items, entries=(entry(name="x", wish=PortWish(Ask.EXPLICIT, 9001)),), strict_ports=True)
    asked = {wanted.subject.resource_name: wanted.spec.port for wanted in plan.forwards}
    assert asked == {
        "x": PortWish(Ask.DEMANDED, 9001),
        "web": PortWish(Ask.DEMANDED, 8080),
        "low": PortWish(Ask.AUTOMATIC),
    }


OWN = OwnForward(kind="service", name="web", namespace="", port="http", local_port=4503)


@pytest.mark.parametrize("port", [8080, "http"])
def test_what_skaffold_forwards_itself_is_left_to_it(port: int | str) -> None:
    """Under its name or number, whether an entry or a mode asks for it; the reason says where it is."""
    reason = "Skaffold forwards it itself, to 127.0.0.1:4503; start it with --port-forward=off"
    own = replace(OWN, port=port)
    for source, facts in (("user", {"entries": (entry(port=port),)}), ("services", {})):
        plan = planned(WEB, own_forwards=(own,), **facts)
        assert plan.forwards == ()
        assert (source, reason) in [(skip.subject.source, skip.reason) for skip in plan.skips]


def test_another_namespaces_forward_is_not_this_one() -> None:
    """A blank namespace in Skaffold's event is the context's; any other has to be the same."""
    far = replace(OWN, port=8080, namespace="far", address="::1")
    assert len(planned(WEB, own_forwards=(far,)).forwards) == 1
    [skip] = planned([service(namespace="far")], own_forwards=(far,)).skips
    assert "to [::1]:4503;" in skip.reason


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        (frozenset(), []),
        (USER, ["user app http 9001"]),
        (SERVICES, ["services s80 80 0", "services s8080 8080 8080"]),
        (BOTH, ["user app http 9001", "services s80 80 0", "services s8080 8080 8080"]),
    ],
)
def test_the_recorded_projects_modes(modes: frozenset[Mode], expected: list[str]) -> None:
    """skaffold-facts section 1, its rows U, S and U S: deployment/app:http to 9001, s80, s8080."""
    items = [workload(DEPLOYMENT, "app"), service("s80", ServicePort(80)), service("s8080"), pod("app-0", app="app")]
    app = entry("deployment", "app", "http", wish=PortWish(Ask.EXPLICIT, 9001))
    plan = planned(items, modes=modes, entries=(app,), namespace="default")
    shown = [
        f"{w.subject.source} {w.subject.resource_name} {w.subject.remote_port} {w.spec.port.number}"
        for w in plan.forwards
    ]
    assert shown == expected
    assert plan.skips == ()
