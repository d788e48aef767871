"""Doctor's checks of the cluster, against the embedded one: all correct, and each possible fault."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from fixtures.embedded import EmbeddedCluster, discovery
from fixtures.embedded.access import Rule
from fixtures.embedded.apps import standard
from tests.cli.made import closed_port, kubeconfig
from watcher.doctor import Finding, NotCheckedError
from watcher.doctor.cluster import ClusterChecks
from watcher.doctor.local import ProjectFiles

NO_PROJECT = ProjectFiles(None, {})
READ_PODS = Rule(("list", "watch"), ("pods",), "default")
READ = Rule(
    ("list", "watch"),
    (
        "pods",
        "services",
        "endpointslices",
        "deployments",
        "replicasets",
        "replicationcontrollers",
        "statefulsets",
        "daemonsets",
        "jobs",
        "cronjobs",
    ),
    "default",
)


@pytest.fixture
async def embedded() -> AsyncIterator[EmbeddedCluster]:
    async with EmbeddedCluster.open() as cluster:
        yield cluster


def patient(embedded: EmbeddedCluster, folder: Path, *rules: Rule) -> ClusterChecks:
    """The checks, as the admin or as a user with only these rules."""
    token = embedded.access.grant("few", *rules) if rules else ""
    return ClusterChecks(str(embedded.kubeconfig(folder / "kubeconfig", token)), "", "", NO_PROJECT)


def levels(findings: Iterable[Finding]) -> list[str]:
    return [finding.level for finding in findings]


async def test_a_cluster_as_it_should_be(embedded: EmbeddedCluster, tmp_path: Path) -> None:
    """Every check is ok and names the cluster."""
    await embedded.pod("web", standard("hello"))
    cluster = patient(embedded, tmp_path)
    (config,) = await cluster.kubeconfig_check()
    assert config.level == "ok"
    expected = f"{tmp_path}/kubeconfig, context embedded, namespace default, server https://127.0.0.1:{embedded.port}"
    assert config.found == expected
    answers, version = await cluster.server_check()
    assert (answers.level, version.level) == ("ok", "ok")
    assert "v1.34.4" in version.found
    assert levels(await cluster.permissions_check()) == ["ok", "ok"]
    transports = await cluster.transport_check()
    assert levels(transports) == ["ok", "ok"]
    assert all("a session to pod default/web in " in finding.found for finding in transports)
    assert embedded.sessions_opened == 2


async def test_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    """A missing kubeconfig is one error; the checks that need it are not made."""
    cluster = ClusterChecks(str(tmp_path / "missing"), "", "", NO_PROJECT)
    (finding,) = await cluster.kubeconfig_check()
    assert finding.level == "error"
    assert "missing cannot be read" in finding.found
    with pytest.raises(NotCheckedError, match="a usable kubeconfig"):
        await cluster.server_check()
    with pytest.raises(NotCheckedError, match="an API server that answers"):
        await cluster.permissions_check()


async def test_a_server_that_is_away(tmp_path: Path) -> None:
    """A server that does not run is one error with its address."""
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig(port := closed_port()))
    cluster = ClusterChecks(str(path), "", "", NO_PROJECT)
    (finding,) = await cluster.server_check()
    assert finding.level == "error"
    assert f"127.0.0.1:{port} cannot be reached: connection refused" in finding.found
    with pytest.raises(NotCheckedError):
        await cluster.transport_check()


async def test_a_token_that_is_not_accepted(embedded: EmbeddedCluster, tmp_path: Path) -> None:
    """Refused credentials are distinguished from a server that does not run."""
    cluster = ClusterChecks(str(embedded.kubeconfig(tmp_path / "kubeconfig", "stale")), "", "", NO_PROJECT)
    (finding,) = await cluster.server_check()
    assert (finding.level, finding.remedy) == ("error", "log in again")
    assert "the credentials are not accepted" in finding.found
    assert "stale" not in finding.found


@pytest.mark.parametrize(
    ("version", "level"),
    [("v1.20.15", "error"), ("v1.21.0", "ok"), ("v1.36.1+k3s1", "ok"), ("whatever", "note"), ("", "note")],
)
async def test_versions(
    embedded: EmbeddedCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, level: str
) -> None:
    """A version that is too old is an error; one that cannot be read is a note."""
    monkeypatch.setitem(discovery.VERSION, "gitVersion", version)
    _, finding = await patient(embedded, tmp_path).server_check()
    assert finding.level == level
    assert "supported from 1.21 on, tested with 1.34" in finding.found


async def test_without_a_pod_no_session_is_tried(embedded: EmbeddedCluster, tmp_path: Path) -> None:
    """Without a running pod no session is tried; the note names the namespace."""
    (finding,) = await patient(embedded, tmp_path).transport_check()
    assert (finding.level, finding.found) == ("note", "not tried: no pod runs in namespace default")


async def test_a_session_that_is_refused(embedded: EmbeddedCluster, tmp_path: Path) -> None:
    """If both transports are refused, each names its verb; if one works, the other is only a note."""
    await embedded.pod("web", standard("hello"))
    spdy, websocket = await patient(embedded, tmp_path, READ_PODS).transport_check()
    assert (spdy.level, websocket.level) == ("error", "error")
    assert re.search("SPDY: .*create.*pods/portforward", spdy.found)
    assert re.search("WebSocket: .*get.*pods/portforward", websocket.found)
    get = Rule(("get",), ("pods/portforward",), "default")
    spdy, websocket = await patient(embedded, tmp_path, READ_PODS, get).transport_check()
    assert (spdy.level, spdy.remedy) == ("note", "sessions are opened by WebSocket")
    assert websocket.level == "ok"


FORWARD = ("create", "get")


@pytest.mark.parametrize(
    ("verbs", "level", "said"),
    [
        ((), "error", "create and get pods/portforward in namespace default is not allowed: nothing can be forwarded"),
        (("create",), "warning", "get pods/portforward in namespace default is not allowed"),
        (("get",), "warning", "create pods/portforward in namespace default is not allowed"),
    ],
)
async def test_each_missing_verb_of_forwarding(
    embedded: EmbeddedCluster, tmp_path: Path, verbs: tuple[str, ...], level: str, said: str
) -> None:
    """A missing verb for one transport is a warning; if both are missing it is an error."""
    rules = (READ, Rule(verbs, ("pods/portforward",), "default"))
    finding, everywhere = await patient(embedded, tmp_path, *rules).permissions_check()
    assert (finding.level, everywhere.level) == (level, "note")
    assert said in finding.found
    assert finding.remedy


async def test_what_may_not_be_read(embedded: EmbeddedCluster, tmp_path: Path) -> None:
    """Each unreadable resource is named with verbs and namespace; for pods it is an error."""
    rules = (Rule(("list",), ("pods", "services"), "default"), Rule(FORWARD, ("pods/portforward",), "default"))
    findings = list(await patient(embedded, tmp_path, *rules).permissions_check())
    assert findings[0].level == "error"
    assert "watch pods in namespace default is not allowed" in findings[0].found
    assert "watch services in namespace default is not allowed" in findings[1].found
    assert any("list and watch endpointslices" in finding.found for finding in findings)
    assert levels(findings[1:]) == ["warning"] * 9 + ["note"]


async def test_rights_in_one_namespace_alone(embedded: EmbeddedCluster, tmp_path: Path) -> None:
    """Permissions in one namespace are enough, and noted."""
    rules = (READ, Rule(FORWARD, ("pods/portforward",), "default"))
    here, everywhere = await patient(embedded, tmp_path, *rules).permissions_check()
    assert (here.level, everywhere.level) == ("ok", "note")
    assert "list and watch pods, services" in everywhere.found


async def test_a_proxy_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy and its setting are named, without the password."""
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig(443).replace("127.0.0.1", "api.example"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@proxy.example:3128")
    (finding,) = await ClusterChecks(str(path), "", "", NO_PROJECT).proxy_check()
    assert (finding.level, finding.found) == (
        "note",
        "api.example is reached through proxy.example:3128 (HTTP_PROXY)",
    )
