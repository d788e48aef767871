"""Which pods may be reached at their own addresses: by what the pod is, and in which clusters."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.plan.made import RUN, deployment_of_run, make_plan, pod_of_run, service, world
from watcher.cluster.kinds import POD, Pod, PodContainer, PodIP
from watcher.cluster.store import Problem, Snapshot
from watcher.plan.facts import Facts
from watcher.plan.plan import with_own_addresses
from watcher.plan.pods import own_address
from watcher.skaffold.modes import Mode

FACTS = Facts(modes=frozenset({Mode.SERVICES}), run_id=RUN)


def pod(address: str = "10.0.0.7", **spec: object) -> Pod:
    _, there = pod_of_run("1", "web")
    assert isinstance(there, Pod)
    status = replace(there.status, pod_ip=address, pod_ips=(PodIP(address),))
    return replace(there, spec=replace(there.spec, **spec), status=status)


def planned(there: Pod, facts: Facts = FACTS) -> str:
    """The address that the plan gives the forward's endpoint."""
    plan = make_plan(world(facts, [service(), deployment_of_run("web"), (POD, there)]))
    [endpoint] = plan.forwards[0].endpoints
    return endpoint.own_address


def test_only_in_the_clusters_that_were_named() -> None:
    """Without a proof, or the user's word, there is no address; with it, the pod's."""
    assert planned(pod()) == ""
    assert planned(pod(), replace(FACTS, direct=frozenset({"another"}))) == ""
    assert planned(pod(), replace(FACTS, direct=frozenset({""}))) == "10.0.0.7"


@pytest.mark.parametrize("name", ["istio-proxy", "linkerd-proxy", "consul-dataplane"])
def test_a_pod_in_a_mesh(name: str) -> None:
    """Its proxy may accept a connection and refuse what is inside, as a container or as a sidecar of either kind."""
    proxy = PodContainer(name=name)
    assert own_address(pod(containers=(PodContainer(name="app"), proxy))) == ""
    assert own_address(pod(init_containers=(proxy,))) == ""


def test_a_mesh_without_sidecars() -> None:
    """Istio's ambient mode marks the pods whose connections the node's proxy takes over."""
    there = pod()
    annotations = {"ambient.istio.io/redirection": "enabled"}
    assert own_address(replace(there, metadata=replace(there.metadata, annotations=annotations))) == ""


def test_pods_whose_address_is_not_theirs_alone() -> None:
    """The host's network, a pod that is being deleted, one that has ended and one without an address."""
    there = pod()
    assert own_address(pod(host_network=True)) == ""
    assert (
        own_address(replace(there, metadata=replace(there.metadata, deletion_timestamp="2026-11-28T00:00:00Z"))) == ""
    )
    for phase in ("Pending", "Failed", "Succeeded"):
        assert own_address(replace(there, status=replace(there.status, phase=phase))) == ""
    assert own_address(replace(there, status=replace(there.status, pod_ip=None, pod_ips=None))) == ""


def test_while_the_watch_of_pods_fails() -> None:
    """Another pod may have been given the address meanwhile, and nobody would say so."""
    facts = replace(FACTS, direct=frozenset({""}))
    facts = world(facts, [service(), deployment_of_run("web"), (POD, pod())])
    problems = {watch: Problem("away") for watch in facts.cluster.objects if watch.kind is POD}
    [endpoint] = make_plan(facts).forwards[0].endpoints
    [stale] = make_plan(replace(facts, cluster=Snapshot(facts.cluster.objects, problems))).forwards[0].endpoints
    assert (endpoint.own_address, stale.own_address) == ("10.0.0.7", "")


def test_an_address_that_was_given_to_another_pod() -> None:
    """A pod created again under the same name has another uid: the endpoint keeps no address of the former one."""
    facts = replace(FACTS, direct=frozenset({""}))
    former, now = pod(), pod("10.0.0.8")
    now = replace(now, metadata=replace(now.metadata, uid="another"))
    assert planned(former, facts) == "10.0.0.7"
    assert planned(now, facts) == "10.0.0.8"


def test_an_endpoint_of_a_former_pod_gets_no_address() -> None:
    """The watch shows another pod under the endpoint's name: the address belongs to that one."""
    former, now = pod(), pod("10.0.0.8")
    now = replace(now, metadata=replace(now.metadata, uid="another"))
    forwards = make_plan(world(FACTS, [service(), deployment_of_run("web"), (POD, former)])).forwards
    later = world(FACTS, [service(), deployment_of_run("web"), (POD, now)]).cluster
    [forward] = with_own_addresses(forwards, later)
    assert forward == forwards[0]


def test_a_forward_without_pods_has_no_address() -> None:
    """Without endpoints there is nothing to add."""
    facts = replace(FACTS, direct=frozenset({""}))
    [forward] = make_plan(world(facts, [service(), deployment_of_run("web")])).forwards
    assert forward.endpoints == ()


def test_in_a_cluster_with_addresses_everything_else_is_planned_as_elsewhere() -> None:
    """What is not forwarded, and the moments to pause."""
    facts = world(FACTS, [service(kind="ExternalName")])
    [skip] = make_plan(facts).skips
    assert list(with_own_addresses([None, skip], facts.cluster)) == [None, skip]
    assert make_plan(replace(facts, direct=frozenset({""}))).skips == (skip,)
