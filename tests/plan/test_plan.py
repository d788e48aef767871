"""The plan: what is forwarded, what is not, and why, for entries, services, and both together."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from forwarders.spec import Ask, PortWish
from tests.plan.made import RUN, WORKLOADS, Item, controller, entry, pod, service, workload, world
from watcher.cluster.kinds import DEPLOYMENT, KINDS, POD, SERVICE, Kind
from watcher.cluster.objects import RUN_ID_LABEL, ServicePort
from watcher.cluster.store import Watch
from watcher.config.entries import BadEntry
from watcher.plan.facts import Facts, OwnForward
from watcher.plan.plan import Plan, Wanted, make_plan
from watcher.skaffold.modes import Mode

USER, SERVICES, BOTH = frozenset({Mode.USER}), frozenset({Mode.SERVICES}), frozenset({Mode.USER, Mode.SERVICES})
WEB: list[Item] = [service(), pod("web-0")]


def planned(items: list[Item], **facts: object) -> Plan:
    return make_plan(world(Facts(**{"modes": BOTH, "run_id": RUN, **facts}), items))  # type: ignore[arg-type]  # by name


def only(plan: Plan) -> Wanted:
    [wanted] = plan.forwards
    return wanted


def ids(plan: Plan) -> list[str]:
    return [wanted.id for wanted in plan.forwards]


# Services


def test_a_service_of_the_run_is_forwarded() -> None:
    """With the contract's id, the pods that serve it, and the rule that chose it."""
    wanted = only(planned(WEB))
    assert wanted.id == wanted.spec.id == "services/default/service/web/8080/127.0.0.1"
    assert (wanted.source, wanted.resource_type, wanted.resource_name) == ("services", "service", "web")
    assert [(endpoint.pod.name, endpoint.port) for endpoint in wanted.endpoints] == [("web-0", 8080)]
    assert (wanted.waiting_for, wanted.broken) == ("", "")
    assert wanted.because == "mode services: it is a service of this run"


@pytest.mark.parametrize(
    ("port", "wish"),
    [(80, PortWish(Ask.AUTOMATIC)), (1023, PortWish(Ask.AUTOMATIC)), (1024, PortWish(Ask.PREFERRED, 1024))],
)
def test_privileged_ports_of_services_are_not_asked_for(port: int, wish: PortWish) -> None:
    """Skaffold's rule: its own port from 1024 on, below that any (s80:80 leads to 4503 there)."""
    assert only(planned([service("web", ServicePort(port))])).spec.port == wish


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
    assert [skip.id for skip in plan.skips] == ["services/default/service/dns/53/UDP/127.0.0.1"]


def test_only_this_runs_services_count() -> None:
    """Leftovers of older runs keep their label; the unlabelled are somebody else's."""
    items = [service("mine"), service("left", run="older"), service("other", run=None), service("odd", run="")]
    assert [wanted.resource_name for wanted in planned(items).forwards] == ["mine"]
    assert planned(items, run_id="").forwards == ()
    assert [w.resource_name for w in planned(items, run_id="", any_run=True).forwards] == ["left", "mine", "odd"]


def test_a_reloaded_configuration_keeps_what_runs_until_it_is_deployed() -> None:
    """The services of the former run id stay until a deploy under the new one has succeeded; then leftovers go."""
    items = [service("kept", run="run-2"), service("removed", run=RUN), service("foreign", run="run-0")]
    facts = {"run_id": "run-2", "former_run_ids": frozenset({RUN})}
    during, after = planned(items, deployed=False, **facts), planned(items, deployed=True, **facts)
    assert [wanted.resource_name for wanted in during.forwards] == ["kept", "removed"]
    assert [wanted.resource_name for wanted in after.forwards] == ["kept"]


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


# Entries


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.singular)
def test_every_type_works_as_a_user_entry(kind: Kind) -> None:
    """By number and by name; cronjob too, which fails in Skaffold. Type pod needs no patience."""
    items = [*controller(kind), pod("web")]
    for port in (8080, "http"):
        wanted = only(planned(items, entries=(entry(kind.singular, port=port),), modes=USER))
        assert wanted.id == f"user/default/{kind.singular}/web/{port}/127.0.0.1"
        assert [(endpoint.pod.name, endpoint.port) for endpoint in wanted.endpoints] == [("web", 8080)]
        assert wanted.spec.patience == (0 if kind is POD else 5)
        assert wanted.because == "it is asked for by skaffold.yaml line 1"


def test_the_spelling_stays_and_the_key_does_not_depend_on_it() -> None:
    """`Job` and `job` are one forward, shown as it was written first."""
    items = [workload(WORKLOADS[4])]
    spelt = replace(entry("job"), resource_type="Job")
    plan = planned(items, entries=(spelt, entry("job", line=9)), modes=USER)
    assert only(plan).resource_type == "Job"
    assert [skip.reason for skip in plan.skips] == [
        "skaffold.yaml line 9 asks for what skaffold.yaml line 1 asks for already"
    ]


def test_two_local_ports_for_one_target_are_two_forwards() -> None:
    """skaffold#6069: with explicit local ports both are meant; a third like the second is one too many."""
    explicit = [entry(wish=PortWish(Ask.EXPLICIT, port), line=port) for port in (9001, 9002, 9002)]
    plan = planned(WEB, entries=tuple(explicit), modes=USER)
    assert [wanted.spec.port.number for wanted in plan.forwards] == [9001, 9002]
    assert len({wanted.spec.group for wanted in plan.forwards}) == 2
    assert [skip.reason for skip in plan.skips] == [
        "skaffold.yaml line 9002 asks for what skaffold.yaml line 9002 asks for already"
    ]


def test_direct_entries_differ_by_the_port_they_ask_for() -> None:
    """`svc/web 1:8080 2:8080 :8080` are three, in any mode, and in Kubernetes' words."""
    wishes = (PortWish(Ask.DEMANDED, 1), PortWish(Ask.DEMANDED, 2), PortWish(Ask.SYSTEM))
    entries = tuple(entry(source="direct", namespace="default", wish=wish) for wish in wishes)
    plan = planned(WEB, entries=entries, modes=frozenset())
    assert [wanted.spec.port for wanted in plan.forwards] == list(wishes)
    assert len(set(ids(plan))) == 3


@pytest.mark.parametrize(
    ("written", "general", "expected"),
    [
        ((), ("127.0.0.1",), ["127.0.0.1"]),
        ((), ("::1", "10.0.0.1", "::1"), ["::1", "10.0.0.1"]),
        (("0.0.0.0",), ("::1",), ["0.0.0.0"]),
    ],
)
def test_an_entrys_own_address_wins(written: tuple[str, ...], general: tuple[str, ...], expected: list[str]) -> None:
    """Else the general ones, each once; they share their local port where they can."""
    plan = planned(WEB, entries=(entry(addresses=written),), addresses=general, modes=USER)
    assert [wanted.spec.address for wanted in plan.forwards] == expected
    assert len({wanted.spec.group for wanted in plan.forwards}) == 1


def test_a_service_named_by_an_entry_is_that_entrys() -> None:
    """By its port's number or by its name, where Skaffold forwards it twice; another port of it is automatic."""
    items = [service("web", ServicePort(8080, "http"), ServicePort(9090, "metrics")), pod("web-0")]
    for port in (8080, "http"):
        plan = planned(items, entries=(entry(port=port, line=7),))
        assert [(wanted.source, wanted.remote_port) for wanted in plan.forwards] == [("user", port), ("services", 9090)]
        assert [skip.reason for skip in plan.skips] == ["skaffold.yaml line 7 asks for this port already"]


def test_user_entries_need_their_mode() -> None:
    """In mode services alone the service is automatic, and a bad entry is nobody's business."""
    bad = BadEntry("skaffold.yaml line 3", "service", "{{.X}}", "", 1, "X is not in the environment")
    plan = planned(WEB, entries=(entry(),), bad_entries=(bad,), modes=SERVICES)
    assert [wanted.source for wanted in plan.forwards] == ["services"]
    assert plan.skips == ()


def test_a_bad_entry_is_skipped_with_its_reason() -> None:
    """The others are forwarded; two that look alike are two."""
    bad = BadEntry("skaffold.yaml line 3", "Service", "{{.X}}", "", 1, "X is not in the environment")
    plan = planned(WEB, entries=(entry(),), bad_entries=(bad, bad), modes=USER)
    assert [skip.reason for skip in plan.skips] == ["skaffold.yaml line 3: X is not in the environment"] * 2
    assert len({skip.id for skip in plan.skips}) == 2
    assert only(plan).source == "user"


def test_containers_are_the_docker_deployers() -> None:
    """Said, not tried."""
    plan = planned([], entries=(entry("container", "registry.example/app"),))
    assert [skip.reason for skip in plan.skips] == [
        "containers belong to the Docker deployer, which publishes their ports itself"
    ]


def test_the_listener_is_there_before_anything_is_known() -> None:
    """No list has ended: wanted all the same, and it says what it waits for."""
    wanted = only(make_plan(Facts(modes=USER, entries=(entry("deployment", namespace="shop"),))))
    assert (wanted.endpoints, wanted.waiting_for) == ((), "listing deployments in namespace shop")


@pytest.mark.parametrize(
    ("deployed", "waiting_for", "broken"),
    [
        (True, "", "deployment web does not exist in namespace default"),
        (False, "deployment web does not exist in namespace default yet", ""),
    ],
)
def test_a_missing_object(*, deployed: bool, waiting_for: str, broken: str) -> None:
    """Missing for good once everything is deployed, awaited until then."""
    wanted = only(planned([], entries=(entry("deployment"),), modes=USER, deployed=deployed))
    assert (wanted.waiting_for, wanted.broken) == (waiting_for, broken)


@pytest.mark.parametrize("watch", [Watch(POD, "shop"), Watch(DEPLOYMENT, "shop", field_selector="metadata.name=web")])
def test_what_may_not_be_listed_is_broken(watch: Watch) -> None:
    """Nothing comes of waiting for a refused list."""
    facts = Facts(modes=USER, entries=(entry("deployment", namespace="shop"),))
    items = [workload(DEPLOYMENT, namespace="shop"), pod("web-0", namespace="shop")]
    wanted = only(make_plan(world(facts, items, refused=[watch])))
    assert (wanted.broken, wanted.waiting_for) == (f"{watch.kind.plural}: 403", "")


def test_a_service_whose_pods_may_not_be_listed_is_broken() -> None:
    """And says why; where they are merely not listed yet, it waits."""
    facts = Facts(modes=SERVICES, run_id=RUN)
    assert only(make_plan(world(facts, WEB, refused=[Watch(POD, "default")]))).broken == "pods: 403"
    listed = world(facts, WEB)
    cluster = replace(listed.cluster, objects={w: o for w, o in listed.cluster.objects.items() if w.kind is SERVICE})
    assert only(make_plan(replace(listed, cluster=cluster))).waiting_for == "listing pods in namespace default"


@pytest.mark.parametrize(
    ("own", "flag", "context", "run", "holding", "expected"),
    [
        ("own", "flag", "ctx", {"a"}, {"a"}, "own"),
        ("", "flag", "ctx", {"a"}, {"a"}, "flag"),
        ("", "", "ctx", {"a", "b"}, {"b"}, "b"),
        ("", "", "ctx", {"a", "b"}, {"a", "b"}, "a"),
        ("", "", "ctx", {"a", "b"}, {"ctx"}, "ctx"),
        ("", "", "ctx", {"a", "b"}, set(), "ctx"),
        ("", "", "ctx", {"a"}, set(), "a"),
        ("", "", "ctx", set(), set(), "ctx"),
        ("", "", "", set(), set(), "default"),
        ("", "", "", {"a", "b"}, set(), "default"),
    ],
)
def test_a_blank_namespace_is_filled_in(  # one row for each rung of the ladder
    own: str, flag: str, context: str, run: set[str], holding: set[str], expected: str
) -> None:
    """Its own, -n, the run's that holds the object, the run's one, the context's, default."""
    items = [workload(DEPLOYMENT, namespace=name) for name in holding]
    facts = {"namespace": flag, "context_namespace": context, "namespaces": frozenset(run)}
    wanted = only(planned(items, entries=(entry("deployment", namespace=own),), modes=USER, **facts))
    assert wanted.namespace == expected


def test_the_runs_services_tell_its_namespaces() -> None:
    """Where no status check named any, an entry is looked for where the run's services are."""
    items = [service("db", namespace="shop"), workload(DEPLOYMENT, namespace="shop")]
    plan = planned(items, entries=(entry("deployment"),), context_namespace="default")
    assert [wanted.namespace for wanted in plan.forwards] == ["shop", "shop"]


# Both


def test_strict_ports_are_demands() -> None:
    """For every forward that asks for a number; the others ask for none still."""
    items = [service("web"), service("low", ServicePort(80))]
    plan = planned(items, entries=(entry(name="x", wish=PortWish(Ask.EXPLICIT, 9001)),), strict_ports=True)
    asked = {wanted.resource_name: wanted.spec.port for wanted in plan.forwards}
    assert asked == {
        "x": PortWish(Ask.DEMANDED, 9001),
        "web": PortWish(Ask.DEMANDED, 8080),
        "low": PortWish(Ask.AUTOMATIC),
    }


OWN = OwnForward(kind="service", name="web", namespace="", port="http", local_port=4503)


@pytest.mark.parametrize("port", [8080, "http"])
def test_what_skaffold_forwards_itself_is_left_to_it(port: int | str) -> None:
    """Shown as Skaffold's, under its name or number, whether an entry or a mode asks for it."""
    own = replace(OWN, port=port)
    for facts in ({"entries": (entry(port=port),)}, {}):
        plan = planned(WEB, own_forwards=(own,), **facts)
        assert plan.forwards == ()
        assert {skip.source for skip in plan.skips} <= {"skaffold", "services"}
        reason = "Skaffold forwards it itself, to 127.0.0.1:4503; start it with --port-forward=off"
        assert [skip.reason for skip in plan.skips if skip.source == "skaffold"] == [reason]


def test_another_namespaces_forward_is_not_this_one() -> None:
    """A blank namespace in Skaffold's event is the context's; any other has to be the same."""
    plan = planned(WEB, own_forwards=(replace(OWN, port=8080, namespace="far", address="::1"),))
    assert len(plan.forwards) == 1
    [shown] = plan.skips
    assert (shown.source, shown.namespace) == ("skaffold", "far")
    assert "to [::1]:4503;" in shown.reason


def test_skaffolds_debug_ports_are_shown_too() -> None:
    """What no mode of ours knows of has a verdict all the same."""
    own = OwnForward(kind="pod", name="web-0", namespace="default", port=5005, local_port=5005, container="web")
    plan = planned([], own_forwards=(own,))
    assert [(s.source, s.resource_type, s.container, s.remote_port) for s in plan.skips] == [
        ("skaffold", "pod", "web", 5005)
    ]


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
    shown = [f"{w.source} {w.resource_name} {w.remote_port} {w.spec.port.number}" for w in plan.forwards]
    assert shown == expected
    assert plan.skips == ()
