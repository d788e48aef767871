"""The API server as a whole: it goes and comes back, and knows its users."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.access import ADMIN, Rule
from fixtures.embedded.pods import Port
from tests.conformance.spdy_client import Line, session
from tests.conformance.subjects import POD, EmbeddedSubject


async def test_it_comes_back_on_its_port(
    cluster: EmbeddedCluster, subject: EmbeddedSubject, admin: ssl.SSLContext
) -> None:
    """Stopping closes the port and cuts sessions; starting again serves the same objects at the same port."""
    async with session(Line.direct(subject)) as client:
        await cluster.stop_server()
        await client.until(lambda: client.closed)
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        await trio.open_tcp_stream("127.0.0.1", cluster.port)
    await cluster.start_server()
    async with httpx.AsyncClient(base_url=cluster.url, verify=admin, trust_env=False) as again:
        assert (await again.get(f"/api/v1/namespaces/default/pods/{POD}")).status_code == 200


async def test_sessions_are_counted_and_cut(cluster: EmbeddedCluster, subject: EmbeddedSubject) -> None:
    """Sessions that are open are counted per pod, and can be cut; the next one is another."""
    other = await cluster.pod("other", [Port(80)])
    async with session(Line.direct(subject)) as client:
        assert await client.pings(5, 5)  # it is served
        assert (cluster.sessions(), cluster.sessions(other)) == (1, 0)
        cluster.fail_sessions(other)
        assert await client.pings(5, 5)
        cluster.fail_sessions()
        await client.until(lambda: client.closed)
    async with session(Line.direct(subject)) as client:
        assert await client.pings(5, 5)
        assert (cluster.sessions(), cluster.sessions_opened) == (1, 2)


async def test_a_revoked_token(cluster: EmbeddedCluster) -> None:
    """A token is good until it is revoked, then 401."""
    token = cluster.access.grant("somebody", Rule(("list",), ("pods",)))
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=cluster.url, verify=cluster.client_tls(), trust_env=False) as client:
        assert (await client.get("/api/v1/pods", headers=headers)).status_code == 200
        cluster.access.revoke(token)
        assert (await client.get("/api/v1/pods", headers=headers)).status_code == 401


async def test_the_admin_can_be_restricted(cluster: EmbeddedCluster, api: httpx.AsyncClient) -> None:
    """Rights can be taken from the admin too, while it is connected."""
    cluster.access.restrict(ADMIN, Rule(("list",), ("pods",), "default"))
    assert (await api.get("/api/v1/namespaces/default/pods")).status_code == 200
    assert (await api.get("/api/v1/pods")).status_code == 403


async def test_kubeconfig_is_private(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    """The kubeconfig holds a key: only its owner may read it."""
    assert cluster.kubeconfig(tmp_path / "kubeconfig").stat().st_mode & 0o077 == 0


async def test_strangers_do_no_harm(cluster: EmbeddedCluster, api: httpx.AsyncClient) -> None:
    """A client that speaks no TLS, or leaves at once, ends only its own connection."""
    for noise in (b"", b"GET / HTTP/1.1\r\n\r\n"):
        async with await trio.open_tcp_stream("127.0.0.1", cluster.port) as stream:
            if noise:
                await stream.send_all(noise)
    assert (await api.get("/version")).json()["gitVersion"].startswith("v1.34")
