"""Ports by name and protocol: one name may stand for several, and TCP is what can be forwarded."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.plan.made import BOTH, CRON_JOB_OF_WEB, Item, entry, only, planned, pod, service, workload
from watcher.cluster.kinds import (
    DEPLOYMENT,
    ContainerPort,
    Object,
    Pod,
    PodContainer,
    PodSpec,
    PodTemplate,
    Service,
    ServicePort,
    Workload,
)
from watcher.plan.ports import asked_number, container_port, spellings

UDP, TCP, SCTP = ContainerPort(5353, "dns", "UDP"), ContainerPort(53, "dns"), ContainerPort(9, "dns", "SCTP")


def with_containers(*ports: ContainerPort, sidecar: ContainerPort | None = None) -> Item:
    """A pod with a container for each port, in this order."""
    kind, item = pod("web-0")
    assert isinstance(item, Pod)
    init = None if sidecar is None else (PodContainer(ports=(sidecar,), restart_policy="Always"),)
    return kind, replace(item, spec=PodSpec(tuple(PodContainer(ports=(port,)) for port in ports), init))


@pytest.mark.parametrize(
    "target", [with_containers(UDP, TCP), with_containers(SCTP, UDP, TCP), with_containers(UDP, sidecar=TCP)]
)
def test_a_name_that_several_protocols_share_means_the_tcp_port(target: Item) -> None:
    """In whichever container it stands, by way of a workload and of a service."""
    direct = {"entries": (entry("deployment", port="dns", namespace="default"),)}
    through = {"entries": (entry("service", port=53, namespace="default"),)}
    dns = service("web", ServicePort(53, "dns", "UDP", "dns"), ServicePort(53, "dns-tcp", "TCP", "dns"), run=None)
    for asked in (direct, through):
        wanted = only(planned([workload(DEPLOYMENT), dns, target], **asked))
        assert [endpoint.port for endpoint in wanted.endpoints] == [53]


def test_a_name_without_a_tcp_port_is_refused() -> None:
    """With the protocol that it has."""
    wanted = only(planned([workload(DEPLOYMENT), with_containers(SCTP)], entries=(entry("deployment", port="dns"),)))
    assert wanted.broken == "deployment web: port 9 is SCTP, and Kubernetes forwards TCP only"


def test_a_number_that_both_protocols_have_is_called_by_the_tcp_ports_name() -> None:
    """As rules and names of the gateway know it."""
    spec = PodSpec((PodContainer(ports=(ContainerPort(53, "dns", "UDP"), ContainerPort(53, "dns-tcp"))),))
    assert container_port(spec, 53) == ContainerPort(53, "dns-tcp")
    assert spellings(None, 53) == spellings(Pod(metadata=pod("a")[1].metadata), 53) == (53,)  # type: ignore[attr-defined] # a pod
    assert spellings(Pod(metadata=pod("a")[1].metadata, spec=spec), 53) == (53, "dns-tcp")  # type: ignore[attr-defined] # a pod


@pytest.mark.parametrize(
    ("ready", "publish", "expected"), [(True, False, True), (False, False, False), (False, True, True)]
)
def test_endpoints_that_are_published_before_they_are_ready_serve_at_once(
    *, ready: bool, publish: bool, expected: bool
) -> None:
    """publishNotReadyAddresses says that readiness does not matter, as for a cluster that finds its members by DNS."""
    kind, item = service()
    assert isinstance(item, Service)
    published = kind, replace(item, spec=replace(item.spec, publish_not_ready_addresses=publish))
    wanted = only(planned([published, pod("web-0", ready=ready)]))
    assert [endpoint.ready for endpoint in wanted.endpoints] == [expected]
    assert bool(wanted.waiting_for) != expected


TEMPLATE = PodTemplate(spec=PodSpec((PodContainer(ports=(UDP, TCP)),)))
WEB = service("web", ServicePort(6379, "redis"), ServicePort(80, "http", "TCP", "redis"))[1]
OF_WEB = workload(DEPLOYMENT)[1]
assert isinstance(OF_WEB, Workload)


@pytest.mark.parametrize(
    ("target", "port", "number"),
    [
        (WEB, "redis", 6379),
        (WEB, "http", 80),
        (WEB, "other", None),
        (replace(OF_WEB, spec=replace(OF_WEB.spec, template=TEMPLATE)), "dns", 53),
        (with_containers(UDP, TCP)[1], "dns", 53),
        (with_containers(TCP)[1], "http", None),
        (CRON_JOB_OF_WEB, "http", 8080),
        (service("web", ServicePort(-1, "http"))[1], "http", None),
        (with_containers(ContainerPort(65536, "http"))[1], "http", None),
        (None, "http", None),
    ],
)
def test_the_number_that_kubectl_listens_at_for_a_name(target: Object | None, port: str, number: int | None) -> None:
    """A service's own, else the container's."""
    assert asked_number(target, port) == number


def test_a_port_that_is_not_there_is_called_as_it_was_asked_for() -> None:
    """Nothing is known of it."""
    assert spellings(WEB, "nope") == ("nope",)


def test_an_entry_by_name_leaves_the_services_own_forward() -> None:
    """As Skaffold has it: the two have different keys, and each its local port."""
    plan = planned([service("web", ServicePort(8080, "http")), pod("web-0")], modes=BOTH, entries=(entry(port="http"),))
    assert [(w.subject.source, w.subject.remote_port) for w in plan.forwards] == [("user", "http"), ("services", 8080)]
