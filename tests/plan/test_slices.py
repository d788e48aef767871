"""A service without a selector: its EndpointSlices, kept by somebody else, say where it leads."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.plan.made import Item, entry, meta, only, planned, pod, service
from watcher.cluster.kinds import (
    ENDPOINT_SLICE,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    ObjectReference,
    Pod,
    PodIP,
    ServicePort,
    SliceEndpoint,
)
from watcher.skaffold.modes import Mode

SERVICE = service("web", ServicePort(80, "http"), selector={})
PORTS = (EndpointPort(8080, "http", "TCP"),)


def slice_of(*endpoints: SliceEndpoint, ports: tuple[EndpointPort, ...] = PORTS) -> Item:
    labels = {"kubernetes.io/service-name": "web"}
    return ENDPOINT_SLICE, EndpointSlice(metadata=meta("web-1", labels=labels), endpoints=endpoints, ports=ports)


def at(name: str, ip: str) -> Item:
    kind, item = pod(name)
    assert isinstance(item, Pod)
    return kind, replace(item, status=replace(item.status, pod_ip=ip))


@pytest.mark.parametrize(
    "endpoint",
    [
        SliceEndpoint(("10.1.1.1",), target_ref=ObjectReference("Pod", "one", "one")),
        SliceEndpoint(("10.1.1.1",)),
    ],
    ids=["by reference", "by address"],
)
def test_a_slice_leads_to_its_pods(endpoint: SliceEndpoint) -> None:
    """By the pod it names, else by the pod that has the address; the port is the slice's of the same name."""
    for facts in ({}, {"modes": frozenset({Mode.USER}), "entries": (entry(port=80, namespace="default"),)}):
        wanted = only(planned([SERVICE, slice_of(endpoint), at("one", "10.1.1.1"), at("two", "10.1.1.2")], **facts))
        assert [(e.pod.name, e.port, e.ready) for e in wanted.endpoints] == [("one", 8080, True)]


def test_a_slices_port_has_the_services_name_and_speaks_tcp() -> None:
    """Other ports of the slice, and the same name by another protocol, stand before it."""
    ports = (EndpointPort(9090, "admin", "TCP"), EndpointPort(8443, "http", "SCTP"), *PORTS)
    there = slice_of(SliceEndpoint(("10.1.1.1",)), ports=ports)
    wanted = only(planned([SERVICE, there, at("one", "10.1.1.1")]))
    assert [endpoint.port for endpoint in wanted.endpoints] == [8080]


@pytest.mark.parametrize("number", [-1, 0, 65536])
def test_a_number_that_no_port_has_leads_nowhere(number: int) -> None:
    """A slice is written by anybody who may: it counts as one without this port."""
    there = slice_of(SliceEndpoint(("10.1.1.1",)), ports=(EndpointPort(number, "http", "TCP"),))
    assert only(planned([SERVICE, there, at("one", "10.1.1.1")])).endpoints == ()


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
@pytest.mark.parametrize("name", ["a-job", "z-job"])
def test_a_finished_pods_address_is_its_successors(name: str, phase: str) -> None:
    """A pod that has ended keeps its address in its status, and the network gives it to another one."""
    kind, ended = at(name, "10.1.1.1")
    assert isinstance(ended, Pod)
    ended = replace(ended, status=replace(ended.status, phase=phase))
    wanted = only(planned([SERVICE, slice_of(SliceEndpoint(("10.1.1.1",))), at("one", "10.1.1.1"), (kind, ended)]))
    assert [endpoint.pod.name for endpoint in wanted.endpoints] == ["one"]


def test_a_pod_is_known_by_each_of_its_addresses() -> None:
    """With two families a service may have the slice of the second one alone."""
    kind, one = at("one", "10.1.1.1")
    assert isinstance(one, Pod)
    both = (PodIP("10.1.1.1"), PodIP("fd00::1"))
    one = replace(one, status=replace(one.status, pod_ips=both))
    wanted = only(planned([SERVICE, slice_of(SliceEndpoint(("fd00::1",))), (kind, one)]))
    assert [endpoint.pod.name for endpoint in wanted.endpoints] == ["one"]


def test_an_endpoint_that_is_not_ready_serves_last() -> None:
    """The slice's own condition counts beside the pod's."""
    unready = SliceEndpoint(("10.1.1.1",), EndpointConditions(ready=False))
    wanted = only(
        planned([SERVICE, slice_of(unready, SliceEndpoint(("10.1.1.2",))), at("a", "10.1.1.1"), at("b", "10.1.1.2")])
    )
    assert [(e.pod.name, e.ready) for e in wanted.endpoints] == [("b", True), ("a", False)]


def test_an_address_that_is_no_pod_is_said() -> None:
    """Only pods can be reached through the API server."""
    wanted = only(planned([SERVICE, slice_of(SliceEndpoint(("192.0.2.7",))), at("one", "10.1.1.1")]))
    assert "its endpoint 192.0.2.7 is no pod" in wanted.broken


def test_without_a_slice_it_waits() -> None:
    """Somebody may make one."""
    wanted = only(planned([SERVICE, at("one", "10.1.1.1")]))
    assert "no EndpointSlice of it has an address" in wanted.waiting_for


def test_a_pod_that_goes_serves_no_more() -> None:
    """Though the slice still names it: one that is being deleted, or has not begun, is no endpoint."""
    kind, going = pod("going", deleting=True)
    kinds = [(kind, going), pod("young", phase="Pending", ready=False), pod("stays")]
    endpoints = [
        SliceEndpoint((f"10.1.1.{n}",), target_ref=ObjectReference("Pod", name, name))
        for n, name in enumerate(("going", "young", "stays"))
    ]
    wanted = only(planned([SERVICE, slice_of(*endpoints), *kinds]))
    assert [endpoint.pod.name for endpoint in wanted.endpoints] == ["stays"]
