"""Lists, watches and tunnels through a SOCKS5 proxy, as kubectl's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.access import EVERYTHING
from fixtures.net.socks import SocksProxy
from forwarders.errors import ProxyError
from forwarders.spec import PodRef
from forwarders.transports.opener import Opener
from forwarders.transports.proxy import Proxy, connect_through
from watcher.cluster.api_client import ApiClient
from watcher.cluster.cluster_config import ClusterConfig, load_cluster_config
from watcher.cluster.kinds import POD
from watcher.cluster.store import Watch
from watcher.errors import ApiUnreachableError


async def behind(cluster: EmbeddedCluster, folder: Path, url: str) -> ClusterConfig:
    """The cluster as api.test, which only the proxy can find."""
    path = cluster.kubeconfig(folder / "kubeconfig", cluster.access.grant("ann", EVERYTHING))
    config = json.loads(path.read_text())
    fields = {"server": f"https://api.test:{cluster.port}", "tls-server-name": "localhost", "proxy-url": url}
    config["clusters"][0]["cluster"] |= fields
    path.write_text(json.dumps(config))
    return await load_cluster_config(str(path), None)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("login", ["", "ann:s3cret"], ids=["open", "with a login"])
async def test_everything_goes_through_it(tmp_path: Path, scheme: str, login: str) -> None:
    """A list, a watch and a session to a pod, each by a connection that the proxy makes to the name."""
    proxy = SocksProxy(login=login, names={"api.test": "127.0.0.1"})
    async with EmbeddedCluster.open() as cluster, trio.open_nursery() as nursery:
        await nursery.start(proxy.serve)
        pod = await cluster.pod("web")
        user = f"{login}@" if login else ""
        config = await behind(cluster, tmp_path, f"{scheme}://{user}127.0.0.1:{proxy.port}")
        async with ApiClient(config.server) as client:
            listed = await client.list(Watch(POD, "default"))
            async with client.watch(Watch(POD, "default"), listed.resource_version, 30) as events:
                cluster.apply("Pod", {"metadata": {"name": "new"}, "spec": {}, "status": {}})
                assert [event.object.metadata.name for event in await anext(events)] == ["new"]
        channel, _ = await Opener(config.server).open(PodRef("default", "web", pod.uid))
        channel.close()
        nursery.cancel_scope.cancel()
    assert set(proxy.tunnels) == {f"api.test:{cluster.port}"}
    assert len(proxy.tunnels) >= 2


@pytest.mark.parametrize(
    ("proxy", "user", "said"),
    [
        (SocksProxy(login="ann:right"), "", "it takes no user and password|it wants a login|it takes no login"),
        (SocksProxy(login="ann:right"), "ann:wr0ng@", "it does not accept this user and password"),
        (SocksProxy(refuse=5), "", "connection refused"),
        (SocksProxy(refuse=2), "", "its rules forbid it"),
        (SocksProxy(refuse=99), "", "SOCKS error 99"),
    ],
)
async def test_a_refusal_is_said_without_the_password(tmp_path: Path, proxy: SocksProxy, user: str, said: str) -> None:
    """Which proxy, to where, and why."""
    async with EmbeddedCluster.open() as cluster, trio.open_nursery() as nursery:
        await nursery.start(proxy.serve)
        config = await behind(cluster, tmp_path, f"socks5://{user}127.0.0.1:{proxy.port}")
        async with ApiClient(config.server) as client:
            with pytest.raises(ApiUnreachableError, match=said) as raised:
                await client.server_version()
        nursery.cancel_scope.cancel()
    assert 'proxy-url of cluster "embedded"' in str(raised.value)
    assert "wr0ng" not in str(raised.value)


class Answers:
    """A proxy's bytes, in pieces of one."""

    def __init__(self, data: bytes) -> None:
        self._left = data
        self.sent = b""

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        data, self._left = self._left[:1], self._left[1:]
        return data

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sent += data


GRANTED = b"\x05\x00\x05\x00\x00"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.0.0.1", b"\x01\x0a\x00\x00\x01"),
        ("fd00::1", b"\x04\xfd" + bytes(14) + b"\x01"),
        ("api.test", b"\x03\x08api.test"),
        ("bücher.test", b"\x03\x12xn--bcher-kva.test"),
    ],
)
@pytest.mark.parametrize("bound", [b"\x01" + bytes(6), b"\x04" + bytes(18), b"\x03\x03abc\x00\x00"])
async def test_every_kind_of_address(host: str, address: bytes, bound: bytes) -> None:
    """RFC 1928's three, asked for and answered."""
    stream = Answers(GRANTED + bound)
    await connect_through(stream, Proxy("p", 1080, socks=True), host, 6443)
    assert stream.sent == b"\x05\x01\x00\x05\x01\x00" + address + b"\x19\x2b"


NO_SOCKS = [b"", b"\x05", b"HTTP/1.1 400", b"\x05\xff", b"\x05\x02", b"\x05\x00\x04\x00\x00\x01"]


@pytest.mark.parametrize("answer", NO_SOCKS)
async def test_what_is_no_socks_proxy_is_refused(answer: bytes) -> None:
    """Any bytes end in a ProxyError."""
    with pytest.raises(ProxyError, match=r"did not connect to api\.test:6443: "):
        await connect_through(Answers(answer), Proxy("p", 1080, socks=True), "api.test", 6443)


async def test_bytes_behind_the_answer_are_refused() -> None:
    """An API server speaks second: whatever stands there is the proxy's."""
    whole = GRANTED + b"\x01" + bytes(6) + b"evil"
    with pytest.raises(ProxyError, match="bytes of its own"):
        await connect_through(_Whole(whole), Proxy("p", 1080, socks=True), "a.test", 1)


class _Whole(Answers):
    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        data, self._left = self._left, b""
        return data
