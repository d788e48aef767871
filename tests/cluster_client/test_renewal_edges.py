"""Renewals that hang, fail, come late or change their kind; the name that TLS checks."""

from __future__ import annotations

import base64
import json
import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fixtures.embedded import EmbeddedCluster
from forwarders.errors import TransportError
from forwarders.spec import PodRef
from forwarders.transports.api_server import ApiServer, Headers
from forwarders.transports.opener import Opener
from tests.cluster_client.test_client import answering, whole
from tests.cluster_client.test_credentials import a_login, credential, plugin
from tests.cluster_client.test_kubeconfig import write
from watcher.cluster.api_client import ApiClient
from watcher.cluster.cluster_config import _Follower, load_cluster_config
from watcher.cluster.credential_provider import LAST_PAUSE, CredentialProvider
from watcher.cluster.credentials import Credentials
from watcher.cluster.kinds import POD
from watcher.cluster.store import Watch
from watcher.errors import ApiUnreachableError, KubeconfigError

KEEP, RENEW = False, True


def with_user(cluster: EmbeddedCluster, tmp_path: Path, user: dict[str, Any], **fields: Any) -> str:
    """The embedded cluster's kubeconfig with another user and more fields of the cluster."""
    content = json.loads(cluster.kubeconfig(tmp_path / "config").read_text())
    content["users"][0]["user"] = user
    content["clusters"][0]["cluster"] |= fields
    return str(write(tmp_path / "config", content))


async def test_a_session_to_a_pod_fails_alone_where_the_plugin_fails(tmp_path: Path) -> None:
    """The forwarders know nothing of kubeconfigs: what they meet is an error of theirs, with the plugin's words."""
    async with EmbeddedCluster.open() as cluster:
        token = cluster.access.grant("ann")
        (tmp_path / "token").write_text(token)
        code = f"import pathlib\ntoken = pathlib.Path({str(tmp_path / 'token')!r}).read_text()\n"
        code += "if not token: sys.exit('please log in')\n"
        answer = credential(token="TOKEN").replace("TOKEN", "' + token + '")
        config = await load_cluster_config(with_user(cluster, tmp_path, plugin(tmp_path, code + answer)), None)
        cluster.access.revoke(token)
        (tmp_path / "token").write_text("")
        with pytest.raises(TransportError, match="please log in"):
            await Opener(config.server).open(PodRef("default", "web", "uid"))


async def test_callers_that_waited_share_the_renewal_however_late_their_turn(autojump_clock: MockClock) -> None:
    """On a machine so slow that their turn comes seconds after the renewal, fifty callers still run the plugin once."""
    renewals = 0

    async with trio.open_nursery() as nursery:

        async def lost_time() -> None:
            autojump_clock.jump(10)

        async def again() -> Credentials:
            nonlocal renewals
            renewals += 1
            await trio.sleep(1)
            nursery.start_soon(lost_time)
            return a_login("Bearer new")

        provider = CredentialProvider(a_login("Bearer old"), again)
        for _ in range(50):
            nursery.start_soon(provider, RENEW)
    assert renewals == 1


async def test_a_plugin_that_hangs_is_not_started_again_by_those_who_give_up(autojump_clock: MockClock) -> None:
    """Callers have deadlines of their own; each that passes must neither end the plugin nor start another."""
    release = trio.Event()
    readings: list[int] = []

    async def hanging() -> Credentials:
        readings.append(1)
        await release.wait()
        return a_login("Bearer new")

    provider = CredentialProvider(a_login("Bearer old"), hanging)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(provider.run)
        await wait_all_tasks_blocked()
        for _ in range(3):
            with trio.move_on_after(5):
                await provider(RENEW)
        assert len(readings) == 1
        release.set()
        assert await provider(RENEW) == [("Authorization", "Bearer new")]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("runs", [True, False], ids=["in the background", "by its first caller"])
async def test_a_slow_plugin_holds_up_nobody_whose_token_is_still_good(
    autojump_clock: MockClock, *, runs: bool
) -> None:
    """A minute before its end a token is renewed by one; the others do not wait for that."""
    release = trio.Event()

    async def slow() -> Credentials:
        await release.wait()
        return a_login("Bearer new")

    provider = CredentialProvider(a_login("Bearer old", life=60), slow)
    await provider(KEEP)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(provider.run if runs else trio.sleep_forever)
        await trio.sleep(61)
        nursery.start_soon(provider, KEEP)
        await wait_all_tasks_blocked()
        assert await provider(KEEP) == [("Authorization", "Bearer old")]
        release.set()
        await wait_all_tasks_blocked()
        assert await provider(KEEP) == [("Authorization", "Bearer new")]
        nursery.cancel_scope.cancel()


async def test_a_failure_that_repeats_is_logged_once(mock_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """Every retry of every watch asks again; people read it once."""

    async def failing() -> Credentials:
        raise KubeconfigError("log in again")

    provider = CredentialProvider(a_login("Bearer old"), failing)
    with caplog.at_level(logging.WARNING, "portside.cluster"):
        for _ in range(5):
            with pytest.raises(KubeconfigError):
                await provider(RENEW)
            mock_clock.jump(2)
    assert [record.getMessage() for record in caplog.records] == ["credentials could not be renewed: log in again"]


@pytest.mark.parametrize(
    "error", [KubeconfigError("no session"), ValueError("secret"), ExceptionGroup("x", [OSError()])]
)
async def test_any_failure_of_a_renewal_costs_only_itself(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """The old header serves on, the next tries come ever more seldom, and a later success is used."""
    tries: list[float] = []
    broken = True

    async def again() -> Credentials:
        tries.append(trio.current_time())
        if broken:
            raise error
        return a_login("Bearer new", life=3600)

    provider = CredentialProvider(a_login("Bearer old", life=60), again)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(provider.run)
        await trio.sleep(60 + 300)
        assert await provider(KEEP) == [("Authorization", "Bearer old")]
        pauses = [later - earlier for earlier, later in pairwise(tries)]
        assert 0.2 <= pauses[0] <= 0.5
        assert max(pauses) <= LAST_PAUSE
        assert len(tries) < 80
        broken = False
        await trio.sleep(LAST_PAUSE)
        assert await provider(KEEP) == [("Authorization", "Bearer new")]
        assert trio.current_time() - tries[-1] < LAST_PAUSE
        nursery.cancel_scope.cancel()
    assert "secret" not in caplog.text
    assert len(caplog.records) == 2


async def test_a_401_that_comes_after_the_renewal_does_not_renew_again() -> None:
    """A request that was under way with the old token is sent again with the one that is there by then."""
    header, renewals = "old", 0
    late_is_asked, renewed = trio.Event(), trio.Event()

    async def authorize(renew: bool) -> Headers:  # noqa: FBT001 - ApiServer's signature
        nonlocal header, renewals
        if renew:
            renewals += 1
            header = f"new {renewals}"
        return [("Authorization", header)]

    async def check(stream: trio.SocketStream, head: str) -> None:
        if "authorization: new 1\r\n" in head.lower():
            await stream.send_all(whole(b'{"gitVersion":"v1","metadata":{"name":"late"}}'))
            renewed.set()
            return
        if "/late" in head:
            late_is_asked.set()
            await renewed.wait()
        else:
            await late_is_asked.wait()
        await stream.send_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with answering(check, authorize=authorize) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.get, POD, "shop", "late")
        await client.server_version()
    assert renewals == 1


async def test_a_refused_token_is_not_sent_again_beside_what_replaces_it() -> None:
    """Where a renewal gives a certificate, the second request has no Authorization header at all."""
    heads: list[str] = []

    async def authorize(renew: bool) -> Headers:  # noqa: FBT001 - ApiServer's signature
        return [] if renew else [("Authorization", "Bearer refused")]

    async def check(stream: trio.SocketStream, head: str) -> None:
        heads.append(head.lower())
        if "authorization" in heads[-1]:
            await stream.send_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            await stream.send_all(whole(b'{"gitVersion":"v1"}'))

    async with answering(check, authorize=authorize) as client:
        assert await client.server_version() == "v1"
    assert ["authorization" in head for head in heads] == [True, False]


async def test_a_plugin_may_change_from_a_token_to_a_certificate(tmp_path: Path) -> None:
    """After a 401 new connections show the certificate that the plugin gave."""
    async with EmbeddedCluster.open() as cluster:
        admin = json.loads(cluster.kubeconfig(tmp_path / "admin").read_text())["users"][0]["user"]
        token = cluster.access.grant("ann")
        (tmp_path / "answer").write_text(json.dumps({"token": token}))
        code = f"status = json.load(open({str(tmp_path / 'answer')!r}))\n"
        code += "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential', "
        config = await load_cluster_config(
            with_user(cluster, tmp_path, plugin(tmp_path, code + "'status': status}))")), None
        )
        cluster.access.revoke(token)
        pem = {
            "clientCertificateData": _decoded(admin["client-certificate-data"]),
            "clientKeyData": _decoded(admin["client-key-data"]),
        }
        (tmp_path / "answer").write_text(json.dumps(pem))
        async with ApiClient(config.server) as client:
            assert (await client.list(Watch(POD, "default"))).objects == ()


def _decoded(data: str) -> str:
    return base64.b64decode(data).decode()


@pytest.mark.parametrize(("name", "trusted"), [("localhost", True), ("LOCALHOST", True), ("other.test", False)])
async def test_the_server_name_is_what_the_certificate_must_name(tmp_path: Path, name: str, *, trusted: bool) -> None:
    """tls-server-name replaces the address in the check, it does not end it."""
    async with EmbeddedCluster.open() as cluster:
        token = cluster.access.grant("ann")
        config = await load_cluster_config(
            with_user(cluster, tmp_path, {"token": token}, **{"tls-server-name": name}), None
        )
        async with ApiClient(config.server) as client:
            if trusted:
                assert await client.server_version()
                return
            with pytest.raises(ApiUnreachableError, match=r"certificate is not trusted \(Hostname mismatch") as raised:
                await client.server_version()
            assert "\n" not in str(raised.value)


async def test_a_file_with_an_empty_name_is_not_watched(tmp_path: Path) -> None:
    """It would be the working folder, in which every change would read the kubeconfig again."""
    async with EmbeddedCluster.open() as cluster:
        path = with_user(cluster, tmp_path, {"token": cluster.access.grant("ann"), "tokenFile": ""})
        follower = _Follower(await load_cluster_config(path, None), _moved)
        assert follower._files() == {Path(path)}


async def _moved(_: ApiServer) -> None:
    raise AssertionError
