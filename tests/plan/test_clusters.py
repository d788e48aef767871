"""One plan for several clusters: each has its own, and the cluster is part of what a forward is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.plan.made import BOTH, RUN, Item, entry, held, make_plan, pod, pod_of_run, service, world
from tests.plan.test_plan_properties import all_facts, clusters
from watcher.cluster.kinds import POD, RUN_ID_LABEL, SERVICE
from watcher.cluster.store import OtherCluster, Problem, Snapshot, Watch
from watcher.config.entries import BadEntry
from watcher.plan.facts import Facts
from watcher.plan.plan import Plan, explain
from watcher.plan.required_watches import is_settled, required_watches
from watcher.skaffold.modes import Mode

WEB: list[Item] = [service(), pod("web-0")]
HERE = Facts(modes=BOTH, run_id=RUN, context="here", contexts=frozenset({"here", "far"}))
IN_FAR = replace(entry(), context="far")
EVERYWHERE = Watch(SERVICE, "", label_selector=RUN_ID_LABEL)


def seen(items: list[Item], facts: Facts = HERE, **other: object) -> OtherCluster:
    """The cluster `far`, which has answered everything that a plan there needs."""
    there = world(replace(facts, context_namespace=""), items).cluster
    return OtherCluster(**{"context": "far", "cluster": there, **other})  # type: ignore[arg-type] # by name


def test_one_cluster_is_as_if_there_were_no_others() -> None:
    """But for the context's name, which every verdict has."""
    facts = world(replace(HERE, entries=(entry(), entry(line=2))), WEB)
    plan, nameless = make_plan(facts), make_plan(replace(facts, context=""))
    assert [one.id for one in plan.forwards] == [one.id for one in nameless.forwards]
    assert [one.spec for one in plan.forwards] == [one.spec for one in nameless.forwards]
    subjects = [one.subject for one in plan.forwards] + [one.subject for one in plan.skips]
    assert {subject.context for subject in subjects} == {"here"}
    assert {watch.cluster for watch in required_watches(facts)} == {""}
    assert is_settled(facts, required_watches(facts))


def test_the_same_service_in_two_clusters_is_two_forwards() -> None:
    """Each with the pods of its own cluster; ids and groups differ, so that neither shares the other's local port."""
    facts = replace(world(HERE, WEB), others=(seen([service(), pod("far-0")]),))
    here, far = make_plan(facts).forwards
    assert (here.subject.context, far.subject.context) == ("here", "far")
    assert (far.id, far.spec.id, far.cluster) == (f"{here.id}@far", f"{here.id}@far", "far")
    assert here.spec.group != far.spec.group
    assert [(one.endpoints[0].pod.name, one.endpoints[0].pod.cluster) for one in (here, far)] == [
        ("web-0", ""),
        ("far-0", "far"),
    ]


def test_an_entry_is_looked_for_in_its_own_cluster_alone() -> None:
    """Blank, or the default context by its name: in the default one. Namespaces left out are each context's own."""
    entries = (IN_FAR, replace(entry(name="db"), context="here"), entry(name="api"))
    asked = replace(HERE, modes=frozenset({Mode.USER}), entries=entries, context_namespace="mine")
    facts = replace(asked, others=(OtherCluster("far", namespace="theirs"),))
    plan = make_plan(facts)
    assert [(one.subject.resource_name, one.subject.context, one.subject.namespace) for one in plan.forwards] == [
        ("db", "here", "mine"),
        ("api", "here", "mine"),
        ("web", "far", "theirs"),
    ]
    names = {(watch.namespace, watch.cluster) for watch in required_watches(facts) if watch.kind is POD}
    assert names == {("mine", ""), ("theirs", "far")}


def test_in_a_cluster_that_the_run_does_not_deploy_to_only_entries_are_looked_at() -> None:
    """A forward of portside.yaml asks for no rights beyond its own, and finds nothing that happens to be labelled."""
    alone = replace(HERE, contexts=frozenset(), entries=(IN_FAR,), explain_requested=True)
    for namespace, expected in (("theirs", "theirs"), ("", "default")):
        facts = replace(alone, others=(OtherCluster("far", namespace=namespace),))
        assert {(watch.kind, watch.namespace) for watch in required_watches(facts) if watch.cluster} == {
            (POD, expected),
            (SERVICE, expected),
        }
        [far] = [one for one in make_plan(facts).forwards if one.cluster]
        assert far.subject.namespace == expected


def test_entries_come_before_services_in_whichever_cluster() -> None:
    """Skaffold's order, which is that of contested ports; modes pods and debug come last."""
    modes = frozenset({Mode.USER, Mode.SERVICES, Mode.PODS})
    here = world(replace(HERE, modes=modes), [service("db"), pod_of_run("x", "db")])
    far = seen([service(), pod_of_run("x", "web")], here)
    plan = make_plan(replace(here, entries=(replace(IN_FAR, port=9090),), others=(far,)))
    sources = [one.subject.source for one in plan.forwards]
    assert sources == sorted(sources, key=["user", "services", "pods"].index)
    assert [one.subject.context for one in plan.forwards[:3]] == ["far", "here", "far"]


def test_a_context_that_cannot_be_used_costs_its_own_entries() -> None:
    """Each says why; nothing else of that cluster is looked for, and the others do not notice."""
    bad = BadEntry("skaffold.yaml line 9", "service", "x", "", 1, "odd")
    facts = world(replace(HERE, entries=(entry(),), bad_entries=(bad,)), WEB)
    twice = (*facts.entries, IN_FAR, replace(IN_FAR, origin="skaffold.yaml line 3"))
    with_far = replace(facts, entries=twice, others=(OtherCluster("far", problem="no such context"),))
    plan, alone = make_plan(with_far), make_plan(facts)
    assert plan.forwards == alone.forwards
    lost = [skip for skip in plan.skips if skip not in alone.skips]
    assert [(skip.reason, skip.subject.context) for skip in lost] == [("no such context", "far")] * 2
    assert ("far", "no such context") in [(one.subject.context, one.rule) for one in explain(plan, with_far)]
    assert required_watches(with_far) == required_watches(facts)
    assert is_settled(with_far, required_watches(with_far))


def test_what_nobody_requests_of_an_unusable_cluster_is_no_skip() -> None:
    """Its entry of skaffold.yaml, without mode user."""
    facts = replace(HERE, modes=frozenset({Mode.SERVICES}), entries=(IN_FAR,))
    assert make_plan(replace(facts, others=(OtherCluster("far", problem="no such context"),))) == Plan()


def test_another_cluster_that_is_away_keeps_nobody_waiting() -> None:
    """The plan stands once the default cluster's lists have ended and every other cluster has answered or failed."""
    facts = world(HERE, WEB)
    for snapshot, expected in (
        (Snapshot(), False),
        (Snapshot(problems={EVERYWHERE: Problem("away")}), True),
        (Snapshot(objects={EVERYWHERE: {}}), True),
    ):
        both = replace(facts, others=(OtherCluster("far", snapshot),))
        assert is_settled(both, required_watches(both)) is expected
    both = replace(facts, cluster=Snapshot(), others=(OtherCluster("far", Snapshot(objects={EVERYWHERE: {}})),))
    assert not is_settled(both, required_watches(both))


def test_what_is_held_in_one_cluster_says_nothing_of_the_other() -> None:
    """A port that our forward in `far` has keeps that forward, beside a Skaffold that forwards itself."""
    own = held("service", "web", 8080, 8081)
    far_id = "services/default/service/web/8080/127.0.0.1@far"
    facts = replace(world(HERE, WEB), own_forwards=(own,), holding={far_id: 8080}, others=(seen(WEB),))
    assert [one.id for one in make_plan(facts).forwards] == [far_id]


def test_explain_answers_for_every_cluster() -> None:
    """With the forwards' own ids and failures."""
    here = world(HERE, WEB)
    alone = explain(make_plan(here), here)
    facts = replace(here, others=(seen(WEB),))
    plan = make_plan(facts)
    ids = [one.id for one in plan.forwards]
    answers = explain(plan, facts, {ids[1]: "its port is taken"})
    assert answers[: len(alone)] == alone
    assert [(one.subject.context, one.forwards, one.forwarded, one.reason) for one in answers] == [
        ("here", (ids[0],), True, ""),
        ("far", (ids[1],), False, "its port is taken"),
    ]
    assert explain(plan, facts, {ids[0]: "taken"})[0].reason == "taken"


@settings(deadline=None)  # two shared cores: time says nothing here
@given(all_facts, clusters, clusters, st.booleans())
def test_a_second_cluster_changes_nothing_of_the_first(
    facts: Facts,
    here: list[Item],
    there: list[Item],
    away: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    """Whatever is there, and if it is away: the first one's forwards are the same; ids are unique over both."""
    facts = world(replace(facts, context="here", contexts=frozenset({"far"})), here)
    far = OtherCluster("far") if away else seen(there, facts)
    asked = replace(facts, entries=(*facts.entries, IN_FAR), others=(far,))
    plan, alone = make_plan(asked), make_plan(facts)
    assert [one for one in plan.forwards if not one.cluster] == list(alone.forwards)
    ids = [one.id for one in plan.forwards] + [one.id for one in plan.skips] + [one.id for one in plan.not_requested]
    assert len(ids) == len(set(ids))
    assert all(one.pod.cluster == one_of.cluster for one_of in plan.forwards for one in one_of.endpoints)
    assert {watch for watch in required_watches(asked) if not watch.cluster} == required_watches(facts)
