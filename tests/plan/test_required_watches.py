"""Which watches a plan needs: few, narrow, and none across the cluster but those of labelled objects."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.plan.made import RUN, entry, facts_of, pod, service, workload, world
from watcher.cluster.kinds import CRON_JOB, DEPLOYMENT, JOB, KINDS, POD, REPLICA_SET_METADATA, RUN_ID_LABEL, SERVICE
from watcher.cluster.store import Problem, Snapshot, Watch
from watcher.plan.facts import Facts
from watcher.plan.required_watches import is_settled, required_watches
from watcher.skaffold.modes import Mode

EVERYWHERE = Watch(SERVICE, "", label_selector=RUN_ID_LABEL)
USER, SERVICES = frozenset({Mode.USER}), frozenset({Mode.SERVICES})


def test_nothing_is_watched_for_nothing() -> None:
    """No mode, no entry: no watch; entries of skaffold.yaml count only in mode user."""
    assert required_watches(Facts()) == frozenset()
    assert required_watches(Facts(modes=SERVICES, entries=(entry(),))) == {EVERYWHERE}
    assert required_watches(Facts(modes=USER, entries=(entry("container"),))) == frozenset()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.singular)
def test_an_entry_needs_its_object_and_the_pods_beside_it(kind: object) -> None:
    """The object alone, by name; for a cronjob the jobs too, for a deployment its ReplicaSets."""
    assert kind in KINDS
    [found] = [k for k in KINDS if k is kind]
    watches = required_watches(Facts(entries=(entry(found.singular, source="direct", namespace="shop"),)))
    own = set() if found is POD else {Watch(found, "shop", field_selector="metadata.name=web")}
    beside = {CRON_JOB: {Watch(JOB, "shop")}, DEPLOYMENT: {Watch(REPLICA_SET_METADATA, "shop")}}
    assert watches == {Watch(POD, "shop"), *own, *beside.get(found, set())}


def test_services_call_for_the_pods_of_their_namespaces() -> None:
    """Only the run's: another run's services need nothing."""
    facts = world(
        Facts(modes=SERVICES, run_id=RUN),
        [service("a", namespace="one"), service("b", namespace="two"), service("c", namespace="three", run="other")],
    )
    assert required_watches(facts) == {EVERYWHERE, Watch(POD, "one"), Watch(POD, "two")}


def test_a_new_run_id_needs_no_new_watch() -> None:
    """One watch for all runs: while services are relabelled, none of them vanishes from it."""
    facts = Facts(modes=SERVICES, run_id=RUN)
    assert (
        required_watches(facts)
        == required_watches(replace(facts, run_id="run-2"))
        == required_watches(replace(facts, run_id=""))
    )


def test_refused_everywhere_means_asking_for_each_namespace() -> None:
    """The ones that are known; the refused watch stays wanted, for a role may be given later."""
    facts = Facts(modes=SERVICES, run_id=RUN, namespaces=frozenset({"one", "two"}), context_namespace="mine")
    asked = required_watches(world(facts, [], refused=[EVERYWHERE]))
    assert asked == {
        EVERYWHERE,
        *(Watch(SERVICE, name, label_selector=RUN_ID_LABEL) for name in ("mine", "one", "two")),
    }


def test_labelled_objects_are_looked_for_where_the_user_said() -> None:
    """In these namespaces alone, and no right beyond them is asked for."""
    facts = Facts(modes=SERVICES, any_run=True, within=frozenset({"one", "two"}), context_namespace="mine")
    seen = world(facts, [service(namespace="one"), service(namespace="mine")])
    assert {watch for watch in required_watches(seen) if watch.kind is SERVICE} == {
        Watch(SERVICE, name, label_selector=RUN_ID_LABEL) for name in ("one", "two")
    }
    assert {watch.namespace for watch in required_watches(seen) if watch.kind is POD} == {"one"}


def test_an_error_that_is_no_refusal_changes_nothing() -> None:
    """An API server that is away is waited for."""
    facts = Facts(modes=SERVICES, cluster=Snapshot(problems={EVERYWHERE: Problem("connection refused")}))
    assert required_watches(facts) == {EVERYWHERE}
    assert not is_settled(facts, required_watches(facts))


def test_settled_means_listed_or_refused() -> None:
    """A refusal is an answer too."""
    facts = Facts(modes=SERVICES, run_id=RUN, namespace="one")
    assert not is_settled(facts, required_watches(facts))
    served = world(facts, [service(namespace="one")])
    assert is_settled(served, required_watches(served))
    refused = world(facts, [service(namespace="one")], refused=[EVERYWHERE, Watch(POD, "one")])
    assert is_settled(refused, required_watches(refused))


def test_an_entry_without_a_namespace_is_looked_for_where_the_run_is() -> None:
    """Its object in each namespace of the run; pods only where it is found."""
    facts = Facts(
        modes=USER, entries=(entry("deployment"),), namespaces=frozenset({"one", "two"}), context_namespace="mine"
    )
    watches = required_watches(world(facts, [workload(DEPLOYMENT, namespace="two"), pod("web-0", namespace="two")]))
    name = "metadata.name=web"
    labelled = Watch(DEPLOYMENT, "", label_selector=RUN_ID_LABEL)  # tells of further namespaces of the run
    by_name = (Watch(DEPLOYMENT, n, field_selector=name) for n in ("mine", "one", "two"))
    assert watches == {Watch(POD, "two"), Watch(REPLICA_SET_METADATA, "two"), labelled, *by_name}


names = st.sampled_from(["", "one", "two"])
facts_without_cluster = st.builds(
    facts_of,
    modes=st.frozensets(st.sampled_from(list(Mode))),
    entries=st.lists(st.builds(entry, st.sampled_from([k.singular for k in KINDS]), namespace=names)).map(tuple),
    namespace=names,
    context_namespace=names,
    namespaces=st.frozensets(st.sampled_from(["one", "two"])),
    run_id=st.sampled_from(["", RUN]),
)


@settings(deadline=None)  # two shared cores: time says nothing here
@given(facts_without_cluster)
def test_only_labelled_objects_are_ever_watched_across_the_cluster(facts: Facts) -> None:
    """And in a namespace, of an entry's own kind, only the one object."""
    for watch in required_watches(world(facts, [service(namespace="one"), service("db", namespace="two")])):
        assert watch.namespace or watch.label_selector == RUN_ID_LABEL
        assert watch.kind in {POD, JOB, SERVICE, REPLICA_SET_METADATA} or watch.field_selector or not watch.namespace
