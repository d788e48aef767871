"""Which proxy leads to the API server, by Go's rules; and lists and watches that go through it."""

from __future__ import annotations

import base64
import json
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from fixtures.embedded import EmbeddedCluster, certificates
from fixtures.embedded.access import Rule
from fixtures.net.connect import ConnectProxy
from forwarders.transports.proxy import Proxy
from watcher.cluster.api_client import ApiClient
from watcher.cluster.cluster_config import load_cluster_config
from watcher.cluster.kinds import POD
from watcher.cluster.kubeconfig import SelectedContext
from watcher.cluster.proxies import proxy_for
from watcher.cluster.store import Watch
from watcher.errors import ApiUnreachableError, KubeconfigError


def chosen(
    environment: dict[str, str], host: str = "api.example.com", port: int = 6443, *, https: bool = True, **cluster: str
) -> Proxy | None:
    fields: dict[str, Any] = {name.replace("_", "-"): value for name, value in cluster.items()}
    selected = SelectedContext("config", "dev", "", "dev", fields, "dev", {})
    return proxy_for(selected, host, port, https=https, environment=environment)


def named(proxy: Proxy | None) -> str:
    return str(proxy)


@pytest.mark.parametrize(
    ("environment", "https", "wanted"),
    [
        ({}, True, "None"),
        ({"HTTPS_PROXY": "http://p:3128"}, True, "p:3128 (HTTPS_PROXY)"),
        ({"https_proxy": "http://p:3128"}, True, "p:3128 (https_proxy)"),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2"}, True, "a:1 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "", "https_proxy": "http://b:2"}, True, "b:2 (https_proxy)"),
        ({"HTTPS_PROXY": "http://p:3128"}, False, "None"),
        ({"HTTP_PROXY": "http://p:3128"}, False, "p:3128 (HTTP_PROXY)"),
        ({"HTTP_PROXY": "http://p:3128"}, True, "None"),
        ({"ALL_PROXY": "http://p:3128"}, True, "None"),
        ({"HTTPS_PROXY": "p:3128"}, True, "p:3128 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "http://p"}, True, "p:80 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "https://p"}, True, "p:443 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "socks5://p"}, True, "p:1080 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "http://[fd00::1]:3128"}, True, "[fd00::1]:3128 (HTTPS_PROXY)"),
    ],
)
def test_from_the_environment(environment: dict[str, str], wanted: str, *, https: bool) -> None:
    """By the server's scheme; upper case first; a bare host and port is an http proxy."""
    assert named(chosen(environment, https=https)) == wanted


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("", "localhost", True),
        ("", "127.0.0.1", True),
        ("", "127.8.8.8", True),
        ("", "::1", True),
        ("", "10.0.0.1", False),
        ("*", "api.example.com", True),
        ("example.com", "example.com", True),
        ("example.com", "api.example.com", True),
        ("example.com", "notexample.com", False),
        (".example.com", "api.example.com", True),
        (".example.com", "example.com", False),
        ("*.example.com", "api.example.com", True),
        ("*.example.com", "example.com", False),
        ("EXAMPLE.com", "api.Example.com", True),
        ("example.com:6443", "api.example.com", True),
        ("example.com:443", "api.example.com", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "api.example.com", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.30", False),
        ("10.1.2.3:6443", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", False),
        ("fd00::/16", "fd00::1", True),
        ("fd00::1", "fd00::1", True),
        ("[fd00::1]:6443", "fd00::1", True),
        ("[fd00::1]:443", "fd00::1", False),
        ("other.test, example.com", "api.example.com", True),
        (" , ,:6443,10.0.0.0/99", "api.example.com", False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, *, direct: bool) -> None:
    """Domains, networks, addresses, ports; loopback never goes through the environment's proxy."""
    environment = {"HTTPS_PROXY": "http://p:3128", "no_proxy": no_proxy}
    assert (chosen(environment, host) is None) is direct


def test_proxy_url_wins() -> None:
    """As in client-go: over the environment, and NO_PROXY does not speak of it."""
    environment = {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "*"}
    proxy = chosen(environment, "127.0.0.1", proxy_url="http://q:8080")
    assert named(proxy) == 'q:8080 (proxy-url of cluster "dev")'


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("url", "authorization"),
    [
        ("http://p:1", ""),
        ("http://ann:secret@p:1", "ann:secret"),
        ("http://ann@p:1", "ann:"),
        ("http://a%40b:s%3Acret@p:1", "a@b:s:cret"),
    ],
)
def test_a_password_in_the_url(url: str, authorization: str) -> None:
    """It becomes a Basic header, percent signs resolved."""
    proxy = chosen({}, proxy_url=url)
    assert proxy is not None
    assert proxy.authorization == (
        "Basic " + base64.b64encode(authorization.encode()).decode() if authorization else ""
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("socks4://ann:secret@p:1080", r"\(socks4://p:1080\) is no http, https or socks5 URL of a proxy"),
        ("ftp://ann:secret@p", r"\(ftp://p\) is no http, https or socks5 URL of a proxy"),
        ("http://", "is no http, https or socks5 URL of a proxy"),
        ("http://ann:secret@p:99999", "is no URL of a proxy"),
        ("http://[ann:secret", "is no URL of a proxy"),
        ("http://ann:secret@p\u00e9:1", "is no http, https or socks5 URL of a proxy"),
    ],
)
def test_one_that_cannot_be_used(url: str, said: str) -> None:
    """One line that names where it stands, without the password."""
    with pytest.raises(KubeconfigError, match=said) as raised:
        chosen({}, proxy_url=url)
    assert 'proxy-url of cluster "dev"' in str(raised.value)
    with pytest.raises(KubeconfigError, match=f"HTTPS_PROXY .*{said}") as other:
        chosen({"HTTPS_PROXY": url})
    assert "secret" not in f"{raised.value}{other.value}"


def test_an_https_proxy_beside_a_broken_authority(tmp_path: Path) -> None:
    """It is told of the kubeconfig's field, also where the server itself needs no TLS."""
    (tmp_path / "ca.crt").write_text("no certificate")
    with pytest.raises(KubeconfigError, match='certificate-authority of cluster "dev" is not a certificate in PEM'):
        chosen({}, https=False, proxy_url="https://p", certificate_authority=str(tmp_path / "ca.crt"))


def test_an_https_proxy_may_have_a_certificate_of_the_clusters_authority(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13 requires extensions that clusters' own authorities lack; kubectl does not."""
    monkeypatch.setattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags.VERIFY_X509_STRICT, raising=False)
    strict = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda **more: _with_flag(strict(**more)))
    proxy = chosen({}, proxy_url="https://p")
    assert proxy is not None
    assert proxy.tls is not None
    assert not proxy.tls.verify_flags & ssl.VerifyFlags.VERIFY_X509_STRICT


def _with_flag(context: ssl.SSLContext) -> ssl.SSLContext:
    """As Python 3.13 makes it."""
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    return context


def test_an_unusable_proxy_that_would_not_be_used_harms_nobody() -> None:
    """NO_PROXY is looked at first."""
    assert chosen({"HTTPS_PROXY": "socks4://p:1", "NO_PROXY": "example.com"}) is None


# Through one


class Stage:
    """A cluster that only the proxy can find, as api.test."""

    def __init__(self, cluster: EmbeddedCluster, nursery: trio.Nursery, folder: Path) -> None:
        self.cluster = cluster
        self._nursery = nursery
        self._folder = folder

    async def proxy(self, login: str = "", tls: ssl.SSLContext | None = None) -> ConnectProxy:
        proxy = ConnectProxy(login=login, names={"api.test": "127.0.0.1"}, tls=tls)
        await self._nursery.start(proxy.serve)
        return proxy

    async def client(self, **cluster: Any) -> ApiClient:
        """For a kubeconfig with these fields of its cluster; the certificate names localhost."""
        token = self.cluster.access.grant("ann", Rule(("*",), ("*",)))
        path = self.cluster.kubeconfig(self._folder / "kubeconfig", token)
        config = json.loads(path.read_text())
        fields = {"server": f"https://api.test:{self.cluster.port}", "tls-server-name": "localhost"} | cluster
        config["clusters"][0]["cluster"] |= fields
        path.write_text(json.dumps(config))
        return ApiClient((await load_cluster_config(str(path), None)).server)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with EmbeddedCluster.open() as cluster, trio.open_nursery() as nursery:
        yield Stage(cluster, nursery, tmp_path)
        nursery.cancel_scope.cancel()


async def test_lists_and_watches_go_through_proxy_url(stage: Stage) -> None:
    """By CONNECT, with the certificate checked for tls-server-name, each connection by a tunnel of its own."""
    proxy = await stage.proxy("ann:s3cret")
    async with await stage.client(**{"proxy-url": f"http://ann:s3cret@127.0.0.1:{proxy.port}"}) as client:
        listed = await client.list(Watch(POD, "default"))
        async with client.watch(Watch(POD, "default"), listed.resource_version, 30) as events:
            stage.cluster.apply("Pod", {"metadata": {"name": "new"}, "spec": {}, "status": {}})
            assert [event.object.metadata.name for event in await anext(events)] == ["new"]
    assert set(proxy.tunnels) == {f"api.test:{stage.cluster.port}"}
    assert proxy.refused == 0


async def test_lists_go_through_the_environments_proxy(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY is enough, as for kubectl."""
    proxy = await stage.proxy()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with await stage.client() as client:
        assert await client.server_version()
    assert len(proxy.tunnels) == 1


async def test_lists_go_through_an_https_proxy(stage: Stage, tmp_path: Path) -> None:
    """TLS with the proxy, which the cluster's own authority vouches for here, and TLS inside it."""
    proxy = await stage.proxy(tls=certificates.server_context(stage.cluster._certificates))
    async with await stage.client(**{"proxy-url": f"https://localhost:{proxy.port}"}) as client:
        assert (await client.list(Watch(POD, "default"))).objects == ()
    assert len(proxy.tunnels) == 1


async def test_a_wrong_password_is_said_and_never_shown(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """One line about the proxy and what its URL needs; no log at any level holds a secret."""
    caplog.set_level(logging.DEBUG)
    proxy = await stage.proxy("ann:right")
    async with await stage.client(**{"proxy-url": f"http://ann:wr0ng@127.0.0.1:{proxy.port}"}) as client:
        with pytest.raises(
            ApiUnreachableError, match=r"refused to connect to api\.test.*407.*user:password@"
        ) as raised:
            await client.server_version()
    secret = _base64("ann:wr0ng")
    everything = caplog.text + str(raised.value)
    assert "wr0ng" not in everything
    assert secret not in everything
    assert proxy.refused == 1


async def test_a_proxy_that_is_gone(stage: Stage) -> None:
    """It cannot be reached: in words, not in a traceback."""
    proxy = await stage.proxy()
    gone = f"http://127.0.0.1:{proxy.port + 1 if proxy.port < 65535 else 1}"
    async with await stage.client(**{"proxy-url": gone}) as client:
        with pytest.raises(ApiUnreachableError, match="cannot be reached"):
            await client.server_version()
