"""What holds for entries and services together: strict ports, Skaffold's own forwards, the recorded modes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from forwarders.spec import PortPolicy, PortRequest
from tests.plan.made import (
    BOTH,
    SERVICES,
    USER,
    WEB,
    entry,
    held,
    planned,
    pod,
    service,
    workload,
)
from watcher.cluster.kinds import DEPLOYMENT, ServicePort
from watcher.skaffold.modes import Mode


def test_strict_ports_are_demands() -> None:
    """For every forward that asks for a number; the others ask for none still."""
    items = [service("web"), service("low", ServicePort(80))]
    plan = planned(
        items, entries=(entry(name="x", local_port=PortRequest(PortPolicy.EXPLICIT, 9001)),), strict_ports=True
    )
    asked = {wanted.subject.resource_name: wanted.spec.port for wanted in plan.forwards}
    assert asked == {
        "x": PortRequest(PortPolicy.DEMANDED, 9001),
        "web": PortRequest(PortPolicy.DEMANDED, 8080),
        "low": PortRequest(PortPolicy.AUTOMATIC),
    }


OWN = held("service", "web", "http", 4503)


@pytest.mark.parametrize("port", [8080, "http"])
def test_what_skaffold_forwards_itself_is_left_to_it(port: int | str) -> None:
    """Whether an entry or a mode asks for it; the reason says where it is. An entry by name is another forward."""
    own = replace(OWN, target_port=port, local_port=8080)
    plan = planned(WEB, own_forwards=(own,), entries=(entry(port=port),))
    reason = "Skaffold forwards it itself, to 127.0.0.1:8080; start it with --port-forward=off"
    assert ("user", reason) in [(skip.subject.source, skip.reason) for skip in plan.skips]
    assert [wanted.subject.source for wanted in plan.forwards] == (["services"] if port == "http" else [])
    assert len(planned(WEB, own_forwards=(own,)).forwards) == (1 if port == "http" else 0)


WEB_ID = "services/default/service/web/8080/127.0.0.1"
ENTRY_ID = "user//service/web/8080/127.0.0.1"


@pytest.mark.parametrize(
    ("holding", "skaffolds", "ours"),
    [
        ({}, 8081, False),
        ({WEB_ID: 8080}, 8081, True),
        ({WEB_ID: 8082}, 8081, False),
        ({WEB_ID: 8082}, 8080, False),
    ],
)
def test_who_holds_the_asked_port_of_a_service_keeps_it(holding: dict[str, int], skaffolds: int, *, ours: bool) -> None:
    """Portside came first, and Skaffold took the next port; on a port that nobody asked for it gives way."""
    own = replace(OWN, target_port=8080, local_port=skaffolds)
    assert bool(planned(WEB, own_forwards=(own,), holding=holding).forwards) is ours


@pytest.mark.parametrize(
    ("holding", "ours"), [({}, False), ({"services/default/service/low/80/127.0.0.1": 4503}, True)]
)
def test_where_no_port_is_asked_the_first_one_stays(holding: dict[str, int], *, ours: bool) -> None:
    """The port that portside chose is what its table says."""
    own = replace(OWN, resource_name="low", target_port=80, local_port=4504)
    plan = planned([service("low", ServicePort(80))], own_forwards=(own,), holding=holding)
    assert bool(plan.forwards) is ours


@pytest.mark.parametrize(
    ("holding", "skaffolds", "ours"),
    [({}, 8080, False), ({}, 8081, True), ({ENTRY_ID: 8080}, 8081, True), ({ENTRY_ID: 8082}, 8080, False)],
)
def test_an_entrys_port_is_served_where_skaffold_moved_elsewhere(
    holding: dict[str, int], skaffolds: int, *, ours: bool
) -> None:
    """Also by a portside that was started again: what stands in skaffold.yaml is what people use."""
    own = replace(OWN, target_port=8080, local_port=skaffolds)
    plan = planned(WEB, own_forwards=(own,), holding=holding, entries=(entry(),), modes=USER)
    assert bool(plan.forwards) is ours


def test_another_namespaces_forward_is_not_this_one() -> None:
    """A blank namespace in Skaffold's event is the context's; any other has to be the same."""
    far = replace(OWN, target_port=8080, namespace="far", address="::1")
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
    """As Skaffold does with the modes user, services and both: deployment/app:http to 9001, s80, s8080."""
    items = [workload(DEPLOYMENT, "app"), service("s80", ServicePort(80)), service("s8080"), pod("app-0", app="app")]
    app = entry("deployment", "app", "http", local_port=PortRequest(PortPolicy.EXPLICIT, 9001))
    plan = planned(items, modes=modes, entries=(app,), namespace="default")
    shown = [
        f"{w.subject.source} {w.subject.resource_name} {w.subject.remote_port} {w.spec.port.number}"
        for w in plan.forwards
    ]
    assert shown == expected
    assert plan.skips == ()
