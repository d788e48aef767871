"""What holds of every plan, whatever the facts: order is nothing, ids are unique, all has its word."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from forwarders.spec import PortPolicy, PortRequest
from tests.plan.made import (
    RUN,
    Item,
    deployment_of_run,
    entry,
    facts_of,
    held,
    make_plan,
    meta_of,
    pod,
    pod_of_run,
    selects,
    service,
    workload,
    world,
)
from watcher.cluster.kinds import DEPLOYMENT, POD, RUN_ID_LABEL, SERVICE, Pod, Resource, ServicePort
from watcher.cluster.store import Collection, Watch
from watcher.config.entries import Rule, Rules
from watcher.plan.facts import Facts
from watcher.plan.plan import Plan, explain
from watcher.plan.required_watches import required_watches
from watcher.plan.verdicts import PlannedForward, Skip
from watcher.skaffold.modes import Mode

names, namespaces = st.sampled_from(["web", "db", "api"]), st.sampled_from(["default", "shop"])
numbers = st.sampled_from([80, 8080, 9001])
addresses = st.lists(st.sampled_from(["127.0.0.1", "::1", "10.0.0.1"]), min_size=1, max_size=3).map(tuple)
service_ports = st.builds(
    lambda number, protocol, target: ServicePort(number, f"p{number}-{protocol.lower()}", protocol, target),
    numbers,
    st.sampled_from(["TCP", "UDP"]),
    st.sampled_from([None, "http"]),
)
items = st.one_of(
    st.builds(
        lambda name, ports, namespace, run: service(name, *ports, namespace=namespace, run=run),
        names,
        st.lists(service_ports, min_size=1, max_size=3, unique_by=lambda port: (port.port, port.protocol)),
        namespaces,
        st.sampled_from([RUN, "older", None]),
    ),
    st.builds(pod, names, names, namespaces, ready=st.booleans(), deleting=st.booleans(), age=st.integers(0, 2)),
    st.builds(workload, st.just(DEPLOYMENT), names, namespaces),
    st.builds(
        pod_of_run,
        names,
        names,
        namespaces,
        run=st.sampled_from([RUN, "older"]),
        image=st.sampled_from(["app:1", "localhost:5000/app:v2", "other"]),
        ready=st.booleans(),
        deleting=st.booleans(),
        debug=st.sampled_from([None, "{", '{"main":{"ports":{"jdwp":5005}}}']),
    ),
    st.builds(deployment_of_run, names, namespaces, run=st.sampled_from([RUN, "older"])),
)
rules = st.builds(
    Rule,
    origin=st.just("portside.yaml line 1"),
    kind=st.sampled_from(["", "service", "deployment"]),
    name=st.sampled_from(["", "w*", "db"]),
    port=st.sampled_from([None, 8080, "http"]),
)
some_rules = st.lists(rules, max_size=1).map(tuple)
port_requests = st.one_of(
    st.builds(PortRequest, st.sampled_from([PortPolicy.EXPLICIT, PortPolicy.PREFERRED]), numbers),
    st.just(PortRequest(PortPolicy.AUTOMATIC)),
)
entries = st.builds(
    entry,
    st.sampled_from(["service", "deployment", "pod", "container"]),
    names,
    st.one_of(numbers, st.sampled_from(["http", "p8080-tcp"])),
    local_port=port_requests,
    namespace=st.one_of(st.just(""), namespaces),
    source=st.sampled_from(["user", "direct"]),
    line=st.integers(1, 99),
    addresses=st.one_of(st.just(()), addresses),
)
own_forwards = st.builds(
    held,
    kind=st.sampled_from(["service", "pod"]),
    name=names,
    namespace=st.one_of(st.just(""), namespaces),
    port=numbers,
    local_port=st.integers(4503, 4505),
)
refusals = st.frozensets(
    st.sampled_from([Watch(SERVICE, "", label_selector=RUN_ID_LABEL), Watch(POD, "default"), Watch(POD, "shop")])
)
all_facts = st.builds(
    facts_of,
    modes=st.frozensets(st.sampled_from(list(Mode))),
    rules=st.builds(Rules, some_rules, some_rules),
    artifacts=st.sampled_from([(), ("app",), ("app", "other")]),
    entries=st.lists(entries, max_size=5).map(tuple),
    addresses=addresses,
    strict_ports=st.booleans(),
    namespace=st.sampled_from(["", "default"]),
    context_namespace=st.sampled_from(["", "default"]),
    namespaces=st.frozensets(namespaces),
    run_id=st.sampled_from(["", RUN]),
    deployed=st.booleans(),
    own_forwards=st.lists(own_forwards, max_size=2, unique_by=lambda own: own.local_port).map(tuple),
)
clusters = st.lists(items, max_size=9, unique_by=lambda item: (item[0], meta_of(item).namespace, meta_of(item).name))


def verdicts(plan: Plan) -> list[PlannedForward | Skip]:
    return [*plan.forwards, *plan.skips]


def ids(plan: Plan) -> list[str]:
    return [verdict.id for verdict in (*verdicts(plan), *plan.not_requested)]


@settings(deadline=None)  # two shared cores: time says nothing here
@given(all_facts, clusters, refusals, st.randoms())
def test_equal_facts_give_an_equal_plan(
    facts: Facts, there: list[Item], refused: frozenset[Watch], random: Random
) -> None:
    """In whatever order the API server listed the objects."""
    shuffled = list(there)
    random.shuffle(shuffled)
    assert make_plan(world(facts, there, refused)) == make_plan(world(facts, shuffled, refused))


@settings(deadline=None)  # two shared cores: time says nothing here
@given(all_facts, clusters, refusals)
def test_ids_are_unique_and_groups_are_of_one_entry(facts: Facts, there: list[Item], refused: frozenset[Watch]) -> None:
    """Over forwards and skips; a group has no address twice."""
    plan = make_plan(world(facts, there, refused))
    assert len(ids(plan)) == len(set(ids(plan)))
    places = [(wanted.spec.group, wanted.spec.address) for wanted in plan.forwards]
    assert len(places) == len(set(places))
    assert all(wanted.id == wanted.spec.id for wanted in plan.forwards)


@settings(deadline=None)  # two shared cores: time says nothing here
@given(all_facts, clusters, refusals)
def test_every_verdict_has_its_reason(facts: Facts, there: list[Item], refused: frozenset[Watch]) -> None:
    """A no says why; a yes too, and where nothing can serve it says what it waits for or what is wrong."""
    plan = make_plan(world(facts, there, refused))
    assert all(skip.reason for skip in plan.skips)
    for wanted in plan.forwards:
        assert wanted.because
        assert not (wanted.waiting_for and wanted.broken)
        ready = any(endpoint.ready for endpoint in wanted.endpoints)
        assert ready != bool(wanted.waiting_for or wanted.broken)
        assert not (wanted.broken and wanted.endpoints)


@settings(deadline=None)  # two shared cores: time says nothing here
@given(all_facts, clusters)
def test_every_entry_has_a_verdict_for_each_address(facts: Facts, there: list[Item]) -> None:
    """None vanishes without a word; no more than one each."""
    plan = make_plan(world(replace(facts, own_forwards=()), there))
    asked = [e for e in facts.entries if e.source == "direct" or Mode.USER in facts.modes]
    found = [verdict for verdict in verdicts(plan) if verdict.subject.source in {"user", "direct"}]
    assert len(found) == sum(len(set(e.addresses or facts.addresses)) for e in asked)


@settings(deadline=None)  # two shared cores: time says nothing here
@given(all_facts, clusters)
def test_wishes_are_those_of_their_source(facts: Facts, there: list[Item]) -> None:
    """Only an entry reserves a port, unless ports are strict; then every request with a number demands it."""
    for wanted in make_plan(world(facts, there)).forwards:
        ask, number = wanted.spec.port.policy, wanted.spec.port.number
        if facts.strict_ports:
            assert (ask is PortPolicy.DEMANDED) == bool(number)
        elif wanted.subject.source in {"pods", "debug"}:
            assert wanted.spec.port == PortRequest(PortPolicy.PREFERRED, int(wanted.subject.remote_port))
        elif wanted.subject.source == "services":
            assert ask is (PortPolicy.PREFERRED if number else PortPolicy.AUTOMATIC)
            assert number in {0, wanted.subject.remote_port}


@settings(deadline=None)  # two shared cores: time says nothing here
@given(all_facts, clusters)
def test_no_service_port_is_forwarded_twice(facts: Facts, there: list[Item]) -> None:
    """Where an entry has its number, the automatic one is gone; by its name it is another one (Skaffold's key)."""
    plan = make_plan(world(facts, there))
    asked = {
        (wanted.subject.namespace, wanted.subject.resource_name, wanted.subject.remote_port)
        for wanted in plan.forwards
        if wanted.subject.source in {"user", "direct"} and wanted.subject.resource_type == "service"
    }
    for wanted in plan.forwards:
        if wanted.subject.source == "services":
            subject = wanted.subject
            assert (subject.namespace, subject.resource_name, subject.remote_port) not in asked


@settings(deadline=None)  # two shared cores: time says nothing here
@given(all_facts, clusters)
def test_unknown_clusters_are_waited_for(facts: Facts, there: list[Item]) -> None:
    """Before any list has ended every entry has its listener already, and no pod."""
    known, unknown = make_plan(world(facts, there)), make_plan(facts)
    asked = {wanted.id for wanted in known.forwards if wanted.subject.source in {"user", "direct"}}
    assert asked <= {verdict.id for verdict in verdicts(unknown)}
    assert all(not wanted.endpoints and wanted.waiting_for for wanted in unknown.forwards)


@settings(deadline=None)  # two shared cores: time says nothing here
@given(all_facts, clusters, refusals)
def test_explain_has_one_verdict_for_each_thing_and_it_is_the_plans(
    facts: Facts, there: list[Item], refused: frozenset[Watch]
) -> None:
    """What it says is forwarded is what is; nothing is listed twice, nothing is left out."""
    seen = world(facts, there, refused)
    plan = make_plan(seen)
    explanations = explain(plan, seen)
    things = [explanation.subject for explanation in explanations]
    assert len(things) == len(set(things))
    of_plan = [explanation for explanation in explanations if not explanation.rule.startswith("it goes with")]
    assert sorted(ident for one in of_plan for ident in one.forwards) == sorted(wanted.id for wanted in plan.forwards)
    said, all_of_plan = {one.subject for one in of_plan}, {v.subject for v in (*verdicts(plan), *plan.not_requested)}
    assert {wanted.subject for wanted in plan.forwards} <= said <= all_of_plan
    # One port that two sources have seen has the verdict of the one that decided.
    about = {(one.namespace, one.resource_type, one.resource_name) for one in said}
    assert all((one.namespace, one.resource_type.lower(), one.resource_name) in about for one in all_of_plan - said)
    broken = {wanted.id for wanted in plan.forwards if wanted.broken and not wanted.endpoints}
    for one in explanations:
        assert one.forwarded == any(ident not in broken for ident in one.forwards)
        assert one.forwarded or one.rule.startswith("it goes with") or not one.forwards or one.reason
    assert all(one.rule for one in explanations)


@settings(deadline=None)  # two shared cores: time says nothing here
@given(all_facts, clusters, st.data())
def test_forwards_of_pods_survive_new_pods(facts: Facts, there: list[Item], data: st.DataObject) -> None:
    """A pod that is recreated or changes its state changes no id while its owner has a pod or a template."""
    modes = facts.modes & {Mode.PODS, Mode.DEBUG}
    before = world(replace(facts, modes=modes, entries=()), there)
    renamed = []
    for kind, item in there:
        if isinstance(item, Pod) and item.metadata.owner_references:
            metadata = replace(item.metadata, name=item.metadata.name + data.draw(st.sampled_from(["", "-new"])))
            item = replace(item, metadata=metadata, status=replace(item.status, phase="Running"))  # noqa: PLW2901 - another
        renamed.append((kind, item))
    after = world(replace(facts, modes=modes, entries=()), renamed)
    assert {w.id for w in make_plan(before).forwards} == {w.id for w in make_plan(after).forwards}


@settings(deadline=None)  # two shared cores: time says nothing here
@given(all_facts, clusters, refusals)
def test_explain_changes_nothing(facts: Facts, there: list[Item], refused: frozenset[Watch]) -> None:
    """What only `explain` looks at is neither forwarded nor skipped."""
    plan, explained = (
        make_plan(world(replace(facts, explain_requested=asked), there, refused)) for asked in (False, True)
    )
    assert (explained.forwards, explained.skips, explained.published) == (
        plan.forwards,
        plan.skips,
        plan.published,
    )


def kept(facts: Facts) -> tuple[Facts, dict[Watch, Collection[Resource]]]:
    """The same facts, with objects as the store keeps them."""
    collections = {
        watch: Collection(item for item in objects.values() if isinstance(item, Resource))
        for watch, objects in facts.cluster.objects.items()
    }
    return replace(facts, cluster=replace(facts.cluster, objects=collections)), collections


@settings(deadline=None)  # two shared cores: time says nothing here
@given(all_facts, clusters, refusals, items, st.sampled_from([Collection.put, Collection.drop]))
def test_a_change_that_is_not_told_changes_no_plan(
    facts: Facts, there: list[Item], refused: frozenset[Watch], changed: Item, change: Callable[..., bool]
) -> None:
    """The store keeps silent on what nobody looked at: then neither the plan nor its watches are others."""
    seen = world(facts, there, refused)
    seen, collections = kept(seen)
    before = make_plan(seen), required_watches(seen)
    assert before == (make_plan(world(facts, there, refused)), required_watches(world(facts, there, refused)))
    kind, item = changed
    told = [change(collection, item) for watch, collection in collections.items() if selects(watch, kind, item)]
    assert any(told) or (make_plan(seen), required_watches(seen)) == before


@pytest.mark.parametrize(("app", "told"), [("web", True), ("db", False)])
def test_only_pods_behind_a_forward_are_told_of(app: str, *, told: bool) -> None:
    """A namespace full of strangers that change all the time costs no plan."""
    facts, collections = kept(world(Facts(modes=frozenset({Mode.SERVICES}), run_id=RUN), [service("web")]))
    make_plan(facts)
    item = pod("changed", app)[1]
    assert isinstance(item, Pod)
    assert collections[Watch(POD, "default")].put(item) == told
