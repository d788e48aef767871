"""The same cases against the embedded cluster, always, and against the real one where the machine has it."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
import yaml

from fixtures.cluster.bed import Bed
from fixtures.embedded import EmbeddedCluster
from tests.conformance.subjects import POD, EmbeddedSubject, RealSubject, Server, Subject


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
    subject = RealSubject(Server(url.hostname, url.port, admin, nobody), f"conformance-{uuid.uuid4().hex[:8]}")
    trio.run(subject.prepare)
    yield subject
    trio.run(subject.remove)


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.cluster)])
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
    async with EmbeddedCluster.open() as cluster:
        server = Server("127.0.0.1", cluster.port, cluster.client_tls(tmp_path), cluster.client_tls())
        subject = EmbeddedSubject(cluster, server, "conformance")
        await subject.add_pod(POD)
        yield subject
