"""The entries of skaffold.yaml and of the command line: forwarded or not, and why."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from forwarders.spec import PortPolicy, PortRequest
from tests.plan.made import (
    RUN,
    SERVICES,
    USER,
    WEB,
    WORKLOADS,
    Item,
    controller,
    entry,
    ids,
    make_plan,
    meta,
    meta_of,
    only,
    planned,
    pod,
    service,
    workload,
    world,
)
from watcher.cluster.kinds import (
    DEPLOYMENT,
    KINDS,
    POD,
    SERVICE,
    ContainerPort,
    Kind,
    LabelSelector,
    PodContainer,
    PodSpec,
    PodTemplate,
    ServicePort,
    Workload,
    WorkloadSpec,
)
from watcher.cluster.store import Watch
from watcher.config.entries import BadEntry, Rule, Rules
from watcher.plan.facts import Facts


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.singular)
def test_every_type_works_as_a_user_entry(kind: Kind) -> None:
    """By number and by name; cronjob too, which fails in Skaffold. Type pod needs no patience."""
    items = [*controller(kind), pod("web")]
    for port in (8080, "http"):
        wanted = only(planned(items, entries=(entry(kind.singular, port=port),), modes=USER))
        assert wanted.id == f"user//{kind.singular}/web/{port}/127.0.0.1"
        assert [(endpoint.pod.name, endpoint.port) for endpoint in wanted.endpoints] == [("web", 8080)]
        assert wanted.spec.patience == (0 if kind is POD else 5)
        assert wanted.because == "it is asked for by skaffold.yaml line 1"


def test_a_namespace_that_was_found_out_is_not_in_the_key() -> None:
    """The object goes for a moment, or comes elsewhere: the same listener, leading to what there is."""
    facts = {"entries": (entry(),), "modes": USER, "run_id": RUN, "context_namespace": "default"}
    there = planned(
        [service(namespace="shop"), pod("web-0", namespace="shop")], **facts, namespaces=frozenset({"shop"})
    )
    gone = planned([], **facts)
    assert only(there).spec == only(gone).spec
    assert only(there).subject.namespace == "shop"
    assert only(gone).broken == "service web does not exist in namespace default"


def test_another_runs_object_does_not_hold() -> None:
    """What an older run left in another namespace makes nothing ambiguous, unless there is nothing else."""
    facts = {"entries": (entry(),), "modes": USER, "namespaces": frozenset({"a", "b"}), "run_id": RUN}
    old, own = service(namespace="a", run="older"), service(namespace="b")
    assert only(planned([old, own], **facts)).subject.namespace == "b"
    assert only(planned([old], **facts)).subject.namespace == "a"
    [skip] = planned([service(namespace="a"), own], **facts).skips
    assert skip.reason == "service web is in namespaces a, b: say which one"


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (service("web", kind="ExternalName"), "it is an ExternalName for elsewhere.example: there is no pod behind it"),
        (service("web", ServicePort(8080, "dns", "UDP")), "port 8080 is UDP, and Kubernetes forwards TCP only"),
    ],
)
def test_what_can_never_be_forwarded_has_no_listener(made: Item, reason: str) -> None:
    """A word in its place, also where an entry asks for it."""
    plan = planned([made], entries=(entry(),), modes=USER)
    assert plan.forwards == ()
    assert [skip.reason for skip in plan.skips] == [reason]


def test_entries_of_a_mode_that_is_off_have_their_answer() -> None:
    """No news, but what `explain` says."""
    plan = planned(WEB, entries=(entry(),), modes=SERVICES)
    assert [(passed.subject.origin, passed.reason) for passed in plan.not_requested] == [
        ("skaffold.yaml line 1", "mode user is off")
    ]


@pytest.mark.parametrize("asked", [8080, "http"])
@pytest.mark.parametrize("ruled", [8080, "http"])
@pytest.mark.parametrize("kind", [SERVICE, POD, DEPLOYMENT], ids=lambda kind: kind.singular)
def test_a_rule_means_a_port_by_number_and_by_name(kind: Kind, asked: int | str, ruled: int | str) -> None:
    """Whichever of the two the entry has."""
    template = PodTemplate(spec=PodSpec((PodContainer(name="main", ports=(ContainerPort(8080, "http"),)),)))
    spec = WorkloadSpec(LabelSelector({"app": "web"}), template)
    items = {
        SERVICE: service(),
        POD: pod("web"),
        DEPLOYMENT: (DEPLOYMENT, Workload(metadata=meta("web"), spec=spec)),
    }
    rules = Rules(exclude=(Rule(origin="portside.yaml line 3", port=ruled),))
    plan = planned([items[kind]], entries=(entry(kind.singular, port=asked),), modes=USER, rules=rules)
    assert [skip.reason for skip in plan.skips] == ["portside.yaml line 3 excludes it"]


def test_the_spelling_stays_and_the_key_does_not_depend_on_it() -> None:
    """`Job` and `job` are one forward, shown as it was written first."""
    items = [workload(WORKLOADS[4])]
    spelt = replace(entry("job"), resource_type="Job")
    plan = planned(items, entries=(spelt, entry("job", line=9)), modes=USER)
    assert only(plan).subject.resource_type == "Job"
    assert [skip.reason for skip in plan.skips] == [
        "skaffold.yaml line 9 asks for what skaffold.yaml line 1 asks for already"
    ]


def test_two_local_ports_for_one_target_are_two_forwards() -> None:
    """skaffold#6069: with explicit local ports both are meant; a third like the second is one too many."""
    explicit = [entry(local_port=PortRequest(PortPolicy.EXPLICIT, port), line=port) for port in (9001, 9002, 9002)]
    plan = planned(WEB, entries=tuple(explicit), modes=USER)
    assert [wanted.spec.port.number for wanted in plan.forwards] == [9001, 9002]
    assert len({wanted.spec.group for wanted in plan.forwards}) == 2
    assert [skip.reason for skip in plan.skips] == [
        "skaffold.yaml line 9002 asks for what skaffold.yaml line 9002 asks for already"
    ]


def test_direct_entries_differ_by_the_port_they_ask_for() -> None:
    """`svc/web 1:8080 2:8080 :8080` are three, in any mode, and in Kubernetes' words."""
    port_requests = (
        PortRequest(PortPolicy.DEMANDED, 1),
        PortRequest(PortPolicy.DEMANDED, 2),
        PortRequest(PortPolicy.SYSTEM),
    )
    entries = tuple(
        entry(source="direct", namespace="default", local_port=port_request) for port_request in port_requests
    )
    plan = planned(WEB, entries=entries, modes=frozenset())
    assert [wanted.spec.port for wanted in plan.forwards] == list(port_requests)
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


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    """Of the objects of that type that the run has deployed."""
    plan = planned(WEB, entries=(entry(name="wbe"), entry("deployment", name="wbe")))
    service_, deployment_, *_ = plan.forwards
    assert service_.broken == 'service wbe does not exist in namespace default; did you mean "web"?'
    assert deployment_.broken == "deployment wbe does not exist in namespace default"
    elsewhere = planned([service("web", namespace="shop")], entries=(entry(namespace="default"),))
    assert [wanted.broken for wanted in elsewhere.forwards if wanted.broken] == [
        "service web does not exist in namespace default"
    ]


def test_a_service_named_by_an_entry_is_that_entrys() -> None:
    """By its port's number; another port of it is automatic."""
    items = [service("web", ServicePort(8080, "http"), ServicePort(9090, "metrics")), pod("web-0")]
    plan = planned(items, entries=(entry(port=8080, line=7),))
    assert [(wanted.subject.source, wanted.subject.remote_port) for wanted in plan.forwards] == [
        ("user", 8080),
        ("services", 9090),
    ]
    assert [skip.reason for skip in plan.skips] == ["skaffold.yaml line 7 asks for this port already"]


def test_user_entries_need_their_mode() -> None:
    """In mode services alone the service is automatic, and a bad entry is nobody's business."""
    bad = BadEntry("skaffold.yaml line 3", "service", "{{.X}}", "", 1, "X is not in the environment")
    plan = planned(WEB, entries=(entry(),), bad_entries=(bad,), modes=SERVICES)
    assert [wanted.subject.source for wanted in plan.forwards] == ["services"]
    assert plan.skips == ()


def test_a_bad_entry_is_skipped_with_its_reason() -> None:
    """The others are forwarded; two that look alike are two."""
    bad = BadEntry("skaffold.yaml line 3", "Service", "{{.X}}", "", 1, "X is not in the environment")
    plan = planned(WEB, entries=(entry(),), bad_entries=(bad, bad), modes=USER)
    assert [skip.reason for skip in plan.skips] == ["skaffold.yaml line 3: X is not in the environment"] * 2
    assert len({skip.id for skip in plan.skips}) == 2
    assert only(plan).subject.source == "user"


def test_containers_are_the_docker_deployers() -> None:
    """Said, not tried."""
    plan = planned([], entries=(entry("container", "registry.example/app"),))
    assert [skip.reason for skip in plan.skips] == [
        "the project deploys to Kubernetes; containers belong to Skaffold's Docker deployer"
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
        ("", "", "b", {"a", "b"}, {"a", "b"}, "b"),
        ("", "", "ctx", {"a", "b"}, {"ctx"}, "ctx"),
        ("", "", "ctx", {"a", "b"}, set(), "ctx"),
        ("", "", "ctx", {"a"}, set(), "a"),
        ("", "", "ctx", {"a"}, {"a", "ctx"}, "a"),
        ("", "", "ctx", {"a"}, {"ctx"}, "ctx"),
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
    assert wanted.subject.namespace == expected


def test_the_runs_services_tell_its_namespaces() -> None:
    """Where no status check named any, an entry is looked for where the run's services are."""
    items = [service("db", namespace="shop"), workload(DEPLOYMENT, namespace="shop")]
    plan = planned(items, entries=(entry("deployment"),), context_namespace="default")
    assert [wanted.subject.namespace for wanted in plan.forwards] == ["shop", "shop"]


def test_an_entry_in_several_of_the_runs_namespaces_has_to_say_which() -> None:
    """Skaffold skips it too; where the context's namespace is among them that one is meant."""
    items = [workload(DEPLOYMENT, namespace=name) for name in ("a", "b")]
    facts = {"entries": (entry("deployment"),), "modes": USER, "namespaces": frozenset({"a", "b"})}
    [skip] = planned(items, context_namespace="elsewhere", **facts).skips
    assert skip.reason == "deployment web is in namespaces a, b: say which one"
    assert skip.subject.namespace == "a"
    assert only(planned(items, context_namespace="b", **facts)).subject.namespace == "b"


def test_rules_may_exclude_what_an_entry_asks_for() -> None:
    """Those of skaffold.yaml; what the user asks portside for by hand no rule takes away."""
    rules = Rules(exclude=(Rule(origin="portside.yaml line 2", name="web"),))
    for source, reasons in (("user", ["portside.yaml line 2 excludes it"]), ("direct", [])):
        plan = planned(WEB, entries=(entry(source=source),), modes=USER, rules=rules)
        assert [skip.reason for skip in plan.skips] == reasons
        assert len(plan.forwards) == 1 - len(reasons)


@pytest.mark.parametrize("kind", ["pod", "deployment"])
def test_an_entry_by_label_leads_to_the_newest(kind: str) -> None:
    """All pods that it selects may serve, the newest first; of other kinds it is the newest object's pods."""
    old, new = [pod("old", age=9), pod("new", age=1)], [pod("newest")]
    items = (
        [*old, *new]
        if kind == "pod"
        else [
            *([workload(DEPLOYMENT, name, age=age) for name, age in (("other", 5), ("web", 1))]),
            *old,
        ]
    )
    items = [labelled(item) for item in items]
    by_label = replace(entry(kind, ""), selector="team=x")
    wanted = only(planned(items, entries=(by_label,), modes=USER))
    assert wanted.id == f"user//{kind}/team=x/8080/127.0.0.1"
    assert [endpoint.pod.name for endpoint in wanted.endpoints] == (
        ["newest", "new", "old"] if kind == "pod" else ["new", "old"]
    )


def test_an_entry_by_label_that_finds_nothing_says_so() -> None:
    """It may come yet while a deploy is under way."""
    by_label = replace(entry("service", ""), selector="team=x")
    for deployed, field in ((True, "broken"), (False, "waiting_for")):
        wanted = only(planned([], entries=(by_label,), modes=USER, deployed=deployed))
        assert getattr(wanted, field).startswith("a service with labels team=x does not exist in namespace default")


def test_an_entry_by_label_is_looked_for_in_the_runs_namespaces() -> None:
    """As one by name is."""
    items = [labelled(workload(DEPLOYMENT, namespace="shop")), service("db", namespace="shop"), service("x")]
    by_label = replace(entry("deployment", ""), selector="team=x")
    plan = planned(items, entries=(by_label,), modes=frozenset({*USER, *SERVICES}), context_namespace="default")
    assert plan.forwards[0].subject.namespace == "shop"


def labelled(item: Item) -> Item:
    """The same with `team: x`."""
    kind, made = item
    metadata = meta_of(item)
    return kind, replace(made, metadata=replace(metadata, labels={**(metadata.labels or {}), "team": "x"}))
