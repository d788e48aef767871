"""Edits of the kubeconfig to another user, and edits in bad moments: nothing that was read before stays in use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.access import ADMIN, ANY, Rule
from forwarders.transports.api_server import ApiServer, Headers
from tests.cluster_client.test_credentials import a_login
from tests.cluster_client.test_kubeconfig import write
from watcher.cluster.api_client import ApiClient
from watcher.cluster.cluster_config import follow_kubeconfig, load_cluster_config
from watcher.cluster.credential_provider import CredentialProvider
from watcher.cluster.credentials import Credentials
from watcher.cluster.kinds import POD
from watcher.cluster.store import Watch
from watcher.errors import ApiForbiddenError

KEEP = False


async def test_a_token_instead_of_a_certificate(tmp_path: Path) -> None:
    """The old certificate is not sent any more: the API server would try it before the token."""
    async with EmbeddedCluster.open() as cluster:
        path = cluster.kubeconfig(tmp_path / "config")
        config = await load_cluster_config(str(path), None)
        token = cluster.access.grant("ann", Rule((ANY,), (ANY,)))
        cluster.access.restrict(ADMIN)
        moved = trio.Event()
        async with trio.open_nursery() as nursery, ApiClient(config.server) as client:

            async def move(server: ApiServer) -> None:
                await client.move(server)
                moved.set()

            nursery.start_soon(follow_kubeconfig, config, move)
            with pytest.raises(ApiForbiddenError):
                await client.list(Watch(POD, "default"))
            cluster.kubeconfig(path, token=token)
            with trio.fail_after(60):
                await moved.wait()
            assert (await client.list(Watch(POD, "default"))).objects == ()
            nursery.cancel_scope.cancel()


async def test_a_file_that_the_kubeconfig_names_changes_during_the_start(tmp_path: Path) -> None:
    """As when `minikube start` writes a new authority after portside has read the old one, before it looks again."""
    async with EmbeddedCluster.open() as cluster, EmbeddedCluster.open() as before:
        path = cluster.kubeconfig(tmp_path / "config")
        content = json.loads(path.read_text())
        place = content["clusters"][0]["cluster"]
        authority = tmp_path / "ca.crt"
        authority.write_text(before.authority)
        del place["certificate-authority-data"]
        place["certificate-authority"] = str(authority)
        config = await load_cluster_config(str(write(tmp_path / "config", content)), None)
        moved = trio.Event()
        async with trio.open_nursery() as nursery, ApiClient(config.server) as client:

            async def move(server: ApiServer) -> None:
                await client.move(server)
                moved.set()

            authority.write_text(cluster.authority)
            nursery.start_soon(follow_kubeconfig, config, move)
            with trio.fail_after(60):
                await moved.wait()
            assert (await client.list(Watch(POD, "default"))).objects == ()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("fails", [False, True])
async def test_an_edit_in_the_moment_in_which_a_renewal_ends(autojump_clock: MockClock, *, fails: bool) -> None:
    """The renewal has read the kubeconfig as it was before, and perhaps failed: it is read again."""
    content, answer = "Bearer old", trio.Event()

    async def again() -> Credentials:
        read = content
        await answer.wait()
        if fails and read == "Bearer old":
            raise OSError
        return a_login(read)

    async def ask(provider: CredentialProvider) -> Headers:
        try:
            return await provider(True)  # noqa: FBT003 - ApiServer's signature
        except Exception:  # noqa: BLE001 - what the first renewal says does not matter here
            return []

    provider = CredentialProvider(a_login("Bearer first"), again)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(provider.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, provider)
        await trio.testing.wait_all_tasks_blocked()
        content = "Bearer edited"
        answer.set()
        provider.edited()
        await trio.sleep(60)
        assert await provider(KEEP) == [("Authorization", "Bearer edited")]
        nursery.cancel_scope.cancel()
