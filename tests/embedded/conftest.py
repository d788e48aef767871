"""An embedded cluster for each test, and clients for it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.apps import standard
from fixtures.embedded.runtimes import CONTAINERD_1_6
from tests.conformance.subjects import POD, EmbeddedSubject, Server
from tests.conformance.ways import PLAYED


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    """Running, with nothing in it."""
    async with EmbeddedCluster.open() as cluster:
        yield cluster


@pytest.fixture
def admin(cluster: EmbeddedCluster, tmp_path: Path) -> ssl.SSLContext:
    return cluster.client_tls(tmp_path)


@pytest.fixture
async def api(cluster: EmbeddedCluster, admin: ssl.SSLContext) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client with the admin's certificate."""
    async with httpx.AsyncClient(base_url=cluster.url, verify=admin, trust_env=False) as client:
        yield client


@pytest.fixture
async def subject(cluster: EmbeddedCluster, admin: ssl.SSLContext) -> EmbeddedSubject:
    """The cluster as the conformance suite sees it, for its raw clients; the standard pod is `app`."""
    server = Server("127.0.0.1", cluster.port, admin, cluster.client_tls(), cluster.authority)
    await cluster.pod(POD, standard("embedded"), namespace="default")
    return EmbeddedSubject(cluster, server, "default", PLAYED[CONTAINERD_1_6])
