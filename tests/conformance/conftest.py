"""The same cases against the embedded cluster, always, and against the real one where the machine has it."""

from __future__ import annotations

import contextlib
import ssl
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
import yaml

from fixtures.cluster.bed import Bed
from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.runtimes import CONTAINERD_1_6, MODES, RuntimeMode
from fixtures.net.way import Way
from forwarders.transports.opener import Transport
from tests.conformance.spdy_client import Line
from tests.conformance.subjects import POD, EmbeddedSubject, RealSubject, Server, Subject
from tests.conformance.ways import PLAYED, ways_of


def _line_id(transport: Transport, round_trip: float, mode: RuntimeMode | None) -> str:
    """`mode`: of the embedded cluster; None: the real one."""
    where = "real" if mode is None else "embedded" if mode is CONTAINERD_1_6 else f"embedded-{mode.name}"
    return f"{where}-{transport.value}" + (f"-{round_trip * 1000:.0f}ms" if round_trip else "")


@pytest.fixture(scope="session")
def real(bed: Bed) -> Iterator[RealSubject]:
    """The real cluster with a namespace made for this run."""
    config = yaml.safe_load(bed.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    admin, nobody = (ssl.create_default_context(cafile=cluster["certificate-authority"]) for _ in range(2))
    admin.load_cert_chain(user["client-certificate"], user["client-key"])
    url = urlsplit(cluster["server"])
    assert url.hostname is not None
    assert url.port is not None
    authority = Path(cluster["certificate-authority"]).read_text()
    server = Server(url.hostname, url.port, admin, nobody, authority)
    subject = RealSubject(server, f"conformance-{uuid.uuid4().hex[:8]}", ways_of(bed.layout.versions))
    trio.run(subject.prepare)
    yield subject
    trio.run(subject.remove)


REAL = (pytest.mark.cluster, pytest.mark.every_bed("conformance: the API server, kubelet and runtime"))


@pytest.fixture(params=["embedded", pytest.param("real", marks=REAL)])
def chosen(request: pytest.FixtureRequest) -> RealSubject | None:
    """The real cluster, or None for the embedded one."""
    if request.param == "embedded":
        return None
    real: RealSubject = request.getfixturevalue("real")
    return real


@pytest.fixture
async def subject(chosen: RealSubject | None, tmp_path: Path) -> AsyncIterator[Subject]:
    """The cluster under test, with the standard pod in it."""
    if chosen is not None:
        yield chosen
        return
    async with _embedded(tmp_path) as subject:
        yield subject


@contextlib.asynccontextmanager
async def _embedded(folder: Path, mode: RuntimeMode = CONTAINERD_1_6) -> AsyncIterator[Subject]:
    async with EmbeddedCluster.open(mode=mode) as cluster:
        server = Server("127.0.0.1", cluster.port, cluster.client_tls(folder), cluster.client_tls(), cluster.authority)
        subject = EmbeddedSubject(cluster, server, "conformance", PLAYED[mode])
        await subject.add_pod(POD)
        yield subject


ROUND_TRIP = 0.05


@pytest.fixture(
    params=[
        pytest.param((transport, round_trip, mode), id=_line_id(transport, round_trip, mode), marks=marks)
        for mode, round_trip, marks in (
            *((mode, 0.0, ()) for mode in MODES),
            (None, 0.0, REAL),
            (None, ROUND_TRIP, REAL[:1]),
        )
        for transport in Transport
    ]
)
def way(request: pytest.FixtureRequest) -> tuple[Transport, float, RealSubject | RuntimeMode]:
    """Transport, round trip in seconds, and the real cluster or the runtime that the embedded one plays."""
    transport, round_trip, mode = request.param
    return transport, round_trip, request.getfixturevalue("real") if mode is None else mode


@pytest.fixture
async def line(way: tuple[Transport, float, RealSubject | RuntimeMode], tmp_path: Path) -> AsyncIterator[Line]:
    """Each transport to each cluster, to the real one also from afar."""
    transport, round_trip, where = way
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(where, RuntimeMode):
            found = await stack.enter_async_context(_embedded(tmp_path, where))
        else:
            found = where
        server = found.server
        nursery = await stack.enter_async_context(trio.open_nursery())
        if round_trip:
            port = await nursery.start(Way((server.host, server.port), round_trip / 2).serve)
            server = replace(server, port=port)
        yield Line(found, server.api(), transport)
        nursery.cancel_scope.cancel()
