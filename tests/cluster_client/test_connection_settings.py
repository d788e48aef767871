"""What a context says of server, certificates and TLS: taken apart, or refused with field, name and reason."""

from __future__ import annotations

import errno
import json
import os
import ssl
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

from fixtures.embedded import EmbeddedCluster
from forwarders.system import files
from tests.cluster_client.test_credentials import KEEP, loaded
from tests.cluster_client.test_kubeconfig import write
from watcher.cluster.cluster_config import load_cluster_config
from watcher.errors import KubeconfigError


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ({"tokenFile": "gone"}, r"tokenFile of user \"dev\" \(.*gone\) cannot be read: No such file"),
        ({"username": "ann"}, "gives neither a token nor a password"),
        ({"auth-provider": {"name": "gcp"}}, "auth-provider of user"),
        ({"client-key-data": "eA=="}, 'client-certificate of user "dev" is missing'),
        ({"client-certificate-data": "eA=="}, 'client-key of user "dev" is missing'),
        ({"client-certificate-data": "@", "client-key-data": "eA=="}, "client-certificate-data of user .* not base64"),
        ({"client-certificate": "c", "client-key": "k"}, r"client-certificate of user \"dev\" \(.*c\) cannot be read"),
    ],
)
async def test_what_is_wrong_with_a_user_is_named(tmp_path: Path, user: dict[str, Any], said: str) -> None:
    """Field, user, file and reason in one line."""
    with pytest.raises(KubeconfigError, match=said):
        await loaded(tmp_path, user)


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ({"server": ""}, 'server of cluster "dev" is missing'),
        ({"server": "ftp://a"}, "not an http or https URL"),
        ({"server": "https://a:port"}, "not an http or https URL"),
        ({"server": "https://"}, "not an http or https URL"),
        ({"server": "https://a", "certificate-authority-data": "eA=="}, "certificate-authority-data .* in PEM"),
        ({"server": "https://a", "certificate-authority": "gone"}, "certificate-authority .* cannot be read"),
    ],
)
async def test_what_is_wrong_with_a_cluster_is_named(tmp_path: Path, cluster: dict[str, Any], said: str) -> None:
    """Likewise for the server's side."""
    with pytest.raises(KubeconfigError, match=said):
        await loaded(tmp_path, {}, **cluster)


@pytest.mark.parametrize(
    ("server", "more", "address"),
    [
        ("https://a", {}, ("a", 443, "", True)),
        ("http://a", {}, ("a", 80, "", False)),
        ("https://a:6443/k8s/clusters/c-1/", {}, ("a", 6443, "/k8s/clusters/c-1", True)),
        ("https://[::1]:6443", {}, ("::1", 6443, "", True)),
        ("a:8001", {}, ("a", 8001, "", False)),
        ("a:6443", {"insecure-skip-tls-verify": True}, ("a", 6443, "", True)),
    ],
)
async def test_a_servers_address_is_taken_apart(
    tmp_path: Path, server: str, more: dict[str, Any], address: tuple[str, int, str, bool]
) -> None:
    """Ports by scheme, prefixes of proxies in front, IPv6, and client-go's guess where there is no scheme."""
    found = (await loaded(tmp_path, {}, server=server, **more)).server
    assert (found.host, found.port, found.prefix, found.tls is not None) == address


async def test_skipping_verification_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """insecure-skip-tls-verify works, aloud."""
    found = await loaded(tmp_path, {}, server="https://a", **{"insecure-skip-tls-verify": True})
    assert found.server.tls is not None
    assert not found.server.tls.check_hostname
    assert "insecure-skip-tls-verify" in caplog.text


async def test_another_server_name_is_kept_for_tls(tmp_path: Path) -> None:
    """tls-server-name is what the certificate must name."""
    found = await loaded(tmp_path, {}, server="https://10.0.0.1", **{"tls-server-name": "kubernetes"})
    assert (found.server.host, found.server.server_name) == ("10.0.0.1", "kubernetes")


async def test_client_certificates_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key from the kubeconfig does not lie around once the connection's settings stand; no header is made of it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with EmbeddedCluster.open() as cluster:
        config = await load_cluster_config(str(cluster.kubeconfig(tmp_path / "config")), None)
    assert config.server.tls is not None
    assert await config.server.authorize(KEEP) == []
    assert os.listdir(tmp_path) == ["config"]


async def test_a_certificate_and_a_key_that_do_not_match_are_refused(tmp_path: Path) -> None:
    """The pair is checked before anything is bound."""
    async with EmbeddedCluster.open() as one, EmbeddedCluster.open() as two:
        content, other = (
            json.loads(cluster.kubeconfig(tmp_path / name).read_text()) for cluster, name in ((one, "a"), (two, "b"))
        )
    content["users"][0]["user"]["client-key-data"] = other["users"][0]["user"]["client-key-data"]
    with pytest.raises(KubeconfigError, match=r"client-certificate, client-key of user .*mismatch"):
        await load_cluster_config(str(write(tmp_path / "mixed", content)), None)


@pytest.mark.parametrize("named", [False, True])
async def test_a_key_never_reaches_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, named: bool) -> None:
    """Linux has files in memory: without a name, and with one for Pythons that know no others."""

    def in_memory(*, dir: str | None, **words: Any) -> tuple[int, str]:  # noqa: A002 - mkstemp's name
        assert dir == files.IN_MEMORY
        return real(dir=dir, **words)

    real = tempfile.mkstemp
    if named:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "mkstemp", in_memory)
    async with EmbeddedCluster.open() as cluster:
        config = await load_cluster_config(str(cluster.kubeconfig(tmp_path / "config")), None)
    assert config.server.tls is not None


def without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system that has no files in memory."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(files, "IN_MEMORY", "/nowhere")


async def test_without_files_in_memory_a_key_is_the_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While ssl reads the key its file has mode 0600 and is closed; afterwards it is gone."""
    modes: list[int] = []

    def watched(context: ssl.SSLContext, name: str, **more: Any) -> None:
        modes.append(stat.S_IMODE(Path(name).stat().st_mode))
        real(context, name, **more)

    real = ssl.SSLContext.load_cert_chain
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with EmbeddedCluster.open() as cluster:
        path = cluster.kubeconfig(tmp_path / "config")
        monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watched)
        without_memory(monkeypatch)
        await load_cluster_config(str(path), None)
    assert modes == [0o600]
    assert os.listdir(tmp_path) == ["config"]


async def test_no_room_for_a_key_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memory files and without room on the disk: the field, and why."""

    def full(**words: Any) -> tuple[int, str]:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with EmbeddedCluster.open() as cluster:
        path = cluster.kubeconfig(tmp_path / "config")
        without_memory(monkeypatch)
        monkeypatch.setattr(tempfile, "mkstemp", full)
        with pytest.raises(KubeconfigError, match=r"client-certificate, client-key .* none can be written: No space"):
            await load_cluster_config(str(path), None)
