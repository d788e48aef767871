"""From a kubeconfig to headers and TLS: tokens, files, plugins, passwords, service accounts; renewed once for many."""

from __future__ import annotations

import base64
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from fixtures.embedded import EmbeddedCluster
from tests.cluster_client.test_kubeconfig import document, write
from watcher.cluster import credentials
from watcher.cluster.cluster_config import ClusterConfig, load_cluster_config
from watcher.cluster.credential_provider import CredentialProvider
from watcher.cluster.credentials import Credentials
from watcher.cluster.kubeconfig import SelectedContext
from watcher.errors import KubeconfigError

KEEP, RENEW = False, True


async def loaded(tmp_path: Path, user: dict[str, Any], **cluster: Any) -> ClusterConfig:
    clusters = [{"name": "dev", "cluster": {"server": "http://api.test:8001"} | cluster}]
    content = document(users=[{"name": "dev", "user": user}], clusters=clusters)
    return await load_cluster_config(str(write(tmp_path / "config", content)), None)


def plugin(tmp_path: Path, code: str) -> dict[str, Any]:
    """An exec plugin that runs `code` and counts how often it was asked."""
    script = tmp_path / "plugin.py"
    script.write_text(f"open({str(tmp_path / 'asked')!r}, 'a').write('x')\nimport json, sys\n{code}")
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": sys.executable, "args": [str(script)]}}


def credential(**status: Any) -> str:
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    return f"print({json.dumps(answer)!r})"


async def test_a_token_is_a_bearer_header(tmp_path: Path) -> None:
    """The plain case, with what else a context says."""
    config = await loaded(tmp_path, {"token": "t0"})
    assert await config.server.authorize(KEEP) == [("Authorization", "Bearer t0")]
    assert (config.context, config.namespace, config.server.proxy) == ("dev", "dev-ns", None)
    assert (config.server.host, config.server.port, config.server.prefix, config.server.tls) == (
        "api.test",
        8001,
        "",
        None,
    )


async def test_a_password_is_a_basic_header(tmp_path: Path) -> None:
    """RFC 7617, for those who have not moved on."""
    config = await loaded(tmp_path, {"username": "ann", "password": "p"})
    expected = "Basic " + base64.b64encode(b"ann:p").decode()
    assert (await config.server.authorize(KEEP))[0][1].lower() == expected.lower()


async def test_without_credentials_there_is_no_header(tmp_path: Path) -> None:
    """kubectl proxy needs none."""
    assert await (await loaded(tmp_path, {})).server.authorize(KEEP) == []


async def test_a_token_file_wins_over_a_token_and_its_newline_is_no_part_of_it(tmp_path: Path) -> None:
    """As in client-go, and a header with a newline would be no header."""
    (tmp_path / "token").write_text("from-file\n")
    config = await loaded(tmp_path, {"token": "old", "tokenFile": "token"})
    assert await config.server.authorize(KEEP) == [("Authorization", "Bearer from-file")]


async def test_a_token_file_is_read_again_after_a_minute_and_after_a_401(tmp_path: Path, mock_clock: MockClock) -> None:
    """The kubelet replaces such files; the old content is used until then."""
    (tmp_path / "token").write_text("one")
    config = await loaded(tmp_path, {"tokenFile": "token"})
    await config.server.authorize(KEEP)
    (tmp_path / "token").write_text("two")
    assert await config.server.authorize(KEEP) == [("Authorization", "Bearer one")]
    mock_clock.jump(61)
    assert await config.server.authorize(KEEP) == [("Authorization", "Bearer two")]
    (tmp_path / "token").write_text("three")
    mock_clock.jump(2)
    assert await config.server.authorize(RENEW) == [("Authorization", "Bearer three")]


async def test_a_token_in_the_kubeconfig_is_read_again_after_a_401(tmp_path: Path) -> None:
    """A login that rewrites the kubeconfig while we run is enough, also if it moves the current context."""
    config = await loaded(tmp_path, {"token": "one"})
    content = document(users=[{"name": "dev", "user": {"token": "two"}}], **{"current-context": "elsewhere"})
    write(tmp_path / "config", content)
    assert await config.server.authorize(RENEW) == [("Authorization", "Bearer two")]


async def test_a_plugin_gives_a_token_and_is_asked_once_for_many(tmp_path: Path) -> None:
    """Fifty requests that all met a 401 make one process."""
    config = await loaded(tmp_path, plugin(tmp_path, credential(token="from-plugin")))
    answers: list[Any] = []

    async def renew() -> None:
        answers.append(await config.server.authorize(RENEW))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(renew)
    assert answers == [[("Authorization", "Bearer from-plugin")]] * 50
    assert (tmp_path / "asked").read_text() == "xx"  # once by load, once by all of them


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "sys.exit('no session:\\nrun sso login')",
            r"exec of user \"dev\" \(.*python.*\) failed \(exit code 1\): no session: run sso login",
        ),
        ("sys.exit(3)", r"failed \(exit code 3\): it printed nothing"),
        ("import os; os.kill(os.getpid(), 9)", r"failed \(ended by SIGKILL\): it printed nothing"),
        ("", "failed: it printed nothing on stdout"),
        ("print('no json')", "failed: its output is not JSON"),
        ("print('[' * 100_000)", "is not an ExecCredential: Expected `object`, got `array`"),
        ("print('{}')", "not an ExecCredential: Object missing required field `kind`"),
        ("print('x' * 2_000_000)", "failed: it printed more than 1 MiB"),
        ("while True: print('x' * 1000)", "failed: it printed more than 1 MiB"),
        (credential(), "printed neither a token nor a certificate"),
        (credential(clientCertificateData="c"), "only one of clientCertificateData and clientKeyData"),
        (credential(token="t").replace("io/v1", "io/v1beta1"), "its output is not in client.authentication.k8s.io/v1,"),
        (credential(token="t").replace("ExecCredential", "Pod"), "is not an ExecCredential"),
        (credential(token={"a": 1}), "not an ExecCredential: Expected"),
    ],
)
async def test_a_plugin_that_fails_is_one_line(tmp_path: Path, code: str, said: str) -> None:
    """Its own last words, or what is wrong with its answer."""
    with pytest.raises(KubeconfigError, match=said) as raised:
        await loaded(tmp_path, plugin(tmp_path, code))
    assert "\n" not in str(raised.value)


async def test_a_plugin_that_is_not_installed_is_named(tmp_path: Path) -> None:
    """The usual mistake on a new machine."""
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-login"}}
    with pytest.raises(KubeconfigError, match=r"\(no-such-login\) cannot be run: No such file"):
        await loaded(tmp_path, user)


async def test_a_pods_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any kubeconfig, inside a pod: server, authority, token and namespace are the pod's own."""
    async with EmbeddedCluster.open() as cluster:
        content = json.loads(cluster.kubeconfig(tmp_path / "config").read_text())
    authority = content["clusters"][0]["cluster"]["certificate-authority-data"]
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "token").write_text("mine\n")
    (account / "namespace").write_text("shop")
    (account / "ca.crt").write_bytes(base64.b64decode(authority))
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", account)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "gone"))
    monkeypatch.setitem(os.environ, "KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setitem(os.environ, "KUBERNETES_SERVICE_PORT", "443")
    config = await load_cluster_config(None, None)
    assert (config.server.host, config.server.port, config.namespace) == ("10.96.0.1", 443, "shop")
    assert (await config.server.authorize(KEEP))[0][1].lower() == "bearer mine"


def a_login(header: str, life: float | None = None, user: dict[str, Any] | None = None) -> Credentials:
    return Credentials(SelectedContext("s", "c", "", "k", {}, "u", user or {}), header, None, life)


async def test_a_failed_renewal_is_raised_to_those_who_need_it_and_shared(autojump_clock: MockClock) -> None:
    """After a 401 the reason is told; a proactive renewal that fails keeps what still works."""
    reads = 0

    async def again() -> Credentials:
        nonlocal reads
        reads += 1
        raise KubeconfigError("log in again")

    authority = CredentialProvider(a_login("Bearer old", life=60), again)
    assert await authority(KEEP) == [("Authorization", "Bearer old")]
    await trio.sleep(61)
    assert await authority(KEEP) == [("Authorization", "Bearer old")]
    for _ in range(3):
        with pytest.raises(KubeconfigError, match="log in again"):
            await authority(RENEW)
    assert reads == 1
    await trio.sleep(2)
    with pytest.raises(KubeconfigError, match="log in again"):
        await authority(RENEW)
    assert reads == 2


@pytest.mark.parametrize(("user", "most"), [({"token": "old"}, 10), ({"exec": {}}, 2), ({"auth-provider": {}}, 2)])
async def test_a_dead_token_costs_few_readings(autojump_clock: MockClock, user: dict[str, Any], most: int) -> None:
    """Ten a second of a file, two of a plugin, however many requests are refused."""
    reads = 0

    async def again() -> Credentials:
        nonlocal reads
        reads += 1
        return a_login("Bearer old", user=user)

    authority = CredentialProvider(a_login("Bearer old", user=user), again)
    began = trio.current_time()
    while trio.current_time() < began + 5:
        await authority(RENEW)
        await trio.sleep(0.01)
    assert 4 * most <= reads <= 5 * most


@pytest.mark.parametrize(("lasts", "life"), [(3600, 3540), (90, 60), (-5, 60)])
async def test_a_plugins_token_is_renewed_before_it_ends(tmp_path: Path, lasts: int, life: float) -> None:
    """A minute before its expirationTimestamp, but no plugin is asked more than once a minute."""
    end = (datetime.now(UTC) + timedelta(seconds=lasts)).isoformat().replace("+00:00", "Z")
    user = plugin(tmp_path, credential(token="t", expirationTimestamp=end))
    path = write(tmp_path / "config", document(users=[{"name": "dev", "user": user}]))
    found = await credentials.read_credentials(str(path), None)
    assert found.life == pytest.approx(life, abs=30)
