"""Mode services: each port of the run's services, forwarded or not, and why."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from forwarders.spec import PortPolicy, PortRequest
from tests.plan.made import (
    RUN,
    SERVICES,
    WEB,
    Item,
    ids,
    make_plan,
    only,
    planned,
    pod,
    service,
    world,
)
from watcher.cluster.kinds import RUN_ID_LABEL, SERVICE, ServicePort
from watcher.cluster.store import Watch
from watcher.config.entries import Rule, Rules
from watcher.plan.facts import Facts
from watcher.skaffold.modes import Mode


def test_a_service_of_the_run_is_forwarded() -> None:
    """With the promised id, the pods that serve it, and the rule that chose it."""
    wanted = only(planned(WEB))
    assert wanted.id == wanted.spec.id == "services/default/service/web/8080/127.0.0.1"
    assert (wanted.subject.source, wanted.subject.resource_type, wanted.subject.resource_name) == (
        "services",
        "service",
        "web",
    )
    assert [(endpoint.pod.name, endpoint.port) for endpoint in wanted.endpoints] == [("web-0", 8080)]
    assert (wanted.waiting_for, wanted.broken) == ("", "")
    assert wanted.because == "mode services: it is a service of this run"


@pytest.mark.parametrize(
    ("port", "port_request"),
    [
        (80, PortRequest(PortPolicy.AUTOMATIC)),
        (1023, PortRequest(PortPolicy.AUTOMATIC)),
        (1024, PortRequest(PortPolicy.PREFERRED, 1024)),
    ],
)
def test_privileged_ports_of_services_are_not_asked_for(port: int, port_request: PortRequest) -> None:
    """Skaffold's rule: its own port from 1024 on, below that any (s80:80 gets 4503 there)."""
    assert only(planned([service("web", ServicePort(port))])).spec.port == port_request


def test_services_come_by_namespace_name_and_port() -> None:
    """One forward for each port and address, whatever order the API gave them in."""
    items = [
        service("b", ServicePort(9000), ServicePort(8000)),
        service("a", namespace="later"),
        service("a"),
    ]
    assert ids(planned(items, addresses=("127.0.0.1", "::1"))) == [
        f"services/{name}/{address}"
        for name in (
            "default/service/a/8080",
            "default/service/b/8000",
            "default/service/b/9000",
            "later/service/a/8080",
        )
        for address in ("127.0.0.1", "::1")
    ]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (service(kind="ExternalName"), "it is an ExternalName for elsewhere.example: there is no pod behind it"),
        (service("web", ServicePort(53, "dns", "UDP")), "port 53 is UDP, and Kubernetes forwards TCP only"),
        (service("web", ServicePort(9, "x", "SCTP")), "port 9 is SCTP, and Kubernetes forwards TCP only"),
        (service("web", ServicePort(-1)), "-1 is no port: ports are numbers from 1 to 65535"),
        (service("web", ServicePort(65536)), "65536 is no port: ports are numbers from 1 to 65535"),
        (service("web", ServicePort(80, "", "TCP", -1)), "-1 is no port: ports are numbers from 1 to 65535"),
        (
            service("web", ServicePort(80, "", "TCP", 1 << 70)),
            f"{1 << 70} is no port: ports are numbers from 1 to 65535",
        ),
    ],
)
def test_ports_that_cannot_be_forwarded_are_skipped(item: Item, reason: str) -> None:
    """Each with its reason; beside a TCP port of the same number too."""
    [skip] = planned([item]).skips
    assert skip.reason == reason
    assert planned([item]).forwards == ()


def test_tcp_and_udp_of_one_number_are_two_things() -> None:
    """One forward, one skip, two ids."""
    plan = planned([service("dns", ServicePort(53, "a", "UDP"), ServicePort(53, "b"))])
    assert ids(plan) == ["services/default/service/dns/53/127.0.0.1"]
    assert [skip.id for skip in plan.skips] == ["services/default/service/dns/53/UDP/"]


def test_what_can_never_be_forwarded_is_said_once() -> None:
    """However many addresses there are."""
    items = [service("dns", ServicePort(53, "a", "UDP")), service("far", kind="ExternalName")]
    plan = planned(items, addresses=("127.0.0.1", "::1"))
    assert [skip.subject.resource_name for skip in plan.skips] == ["dns", "far"]


def test_explain_lists_services_in_every_mode() -> None:
    """Services are looked at then, and have their answer."""
    plan = planned([service()], modes=frozenset({Mode.USER}), explain_requested=True)
    assert [(passed.subject.resource_name, passed.reason) for passed in plan.not_requested] == [
        ("web", "mode services is off")
    ]
    assert planned([service()], modes=frozenset({Mode.USER})).not_requested == ()


def test_only_this_runs_services_count() -> None:
    """Leftovers of older runs keep their label; the unlabelled are somebody else's."""
    items = [service("mine"), service("left", run="older"), service("other", run=None), service("odd", run="")]
    assert [wanted.subject.resource_name for wanted in planned(items).forwards] == ["mine"]
    assert planned(items, run_id="").forwards == ()
    assert [w.subject.resource_name for w in planned(items, run_id="", any_run=True).forwards] == [
        "left",
        "mine",
        "odd",
    ]


def test_a_reloaded_configuration_keeps_what_runs_until_it_is_deployed() -> None:
    """The services of the former run id stay until a deploy under the new one has succeeded; then leftovers go."""
    items = [service("kept", run="run-2"), service("removed", run=RUN), service("foreign", run="run-0")]
    facts = {"run_id": "run-2", "former_run_ids": frozenset({RUN})}
    during, after = planned(items, deployed=False, **facts), planned(items, deployed=True, **facts)
    assert [wanted.subject.resource_name for wanted in during.forwards] == ["kept", "removed"]
    assert [wanted.subject.resource_name for wanted in after.forwards] == ["kept"]


def test_a_headless_service_is_forwarded() -> None:
    """What decides is its selector."""
    kind, web = service()
    headless = replace(web, spec=replace(web.spec, cluster_ip="None"))  # type: ignore[attr-defined]  # a Service has it
    assert only(planned([(kind, headless), pod("web-0")])).endpoints


def test_where_services_cannot_be_listed_everywhere_the_known_namespaces_serve() -> None:
    """Rights in one namespace are enough for it."""
    refused = [Watch(SERVICE, "", label_selector=RUN_ID_LABEL)]
    facts = world(Facts(modes=SERVICES, run_id=RUN, namespace="default"), [*WEB, service(namespace="far")], refused)
    assert ids(make_plan(facts)) == ["services/default/service/web/8080/127.0.0.1"]


def test_a_service_without_ports_is_an_answer_and_no_news() -> None:
    """Nobody can ask for a port of it; an ExternalName says where it leads."""
    items = []
    for name, kind in (("bare", "ClusterIP"), ("away", "ExternalName")):
        which, made = service(name, kind=kind)
        items.append((which, replace(made, spec=replace(made.spec, ports=None))))  # type: ignore[attr-defined]  # a Service has it
    plan = planned(items)
    assert (plan.forwards, plan.skips) == ((), ())
    assert [passed.reason for passed in plan.not_requested] == [
        "it has no port: it is an ExternalName for elsewhere.example",
        "it has no port",
    ]


def test_rules_judge_services() -> None:
    """What portside.yaml excludes is skipped, by the rule's own line."""
    rules = Rules(exclude=(Rule(origin="portside.yaml line 3", name="w*"),))
    plan = planned([service("web"), service("db"), pod("web-0")], modes=SERVICES, rules=rules)
    assert [wanted.subject.resource_name for wanted in plan.forwards] == ["db"]
    assert [skip.reason for skip in plan.skips] == ["portside.yaml line 3 excludes it"]
