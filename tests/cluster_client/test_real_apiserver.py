"""The same client against the real API server: certificate, token, exec plugin, a role in one namespace, a restart."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest
import trio
import yaml

from fixtures.cluster.bed import Bed
from tests.support.objects import apply, namespace, service
from watcher.cluster.api_client import ApiClient
from watcher.cluster.cluster_config import ClusterConfig, load_cluster_config
from watcher.cluster.clusters import Watches
from watcher.cluster.kinds import DEPLOYMENT, KINDS, POD, SERVICE, Object
from watcher.cluster.store import Snapshot, Watch
from watcher.errors import NotFoundError

pytestmark = pytest.mark.cluster
SPACE = "cluster-client"
PATIENCE = 60.0
T = TypeVar("T", bound=Object)


@pytest.fixture(scope="module")
def space(bed: Bed) -> Iterator[str]:
    """A namespace with a service account `reader` that may read pods and services in it, and nothing else."""
    with namespace(bed, SPACE) as name:
        bed.kubectl("-n", name, "create", "serviceaccount", "reader")
        verbs = "--verb=get,list,watch"
        bed.kubectl("-n", name, "create", "role", "reader", verbs, "--resource=pods,services")
        bed.kubectl("-n", name, "create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={name}:reader")
        yield name


def kubeconfig(bed: Bed, path: Path, user: dict[str, Any]) -> str:
    """The bed's kubeconfig with another user."""
    content = yaml.safe_load(bed.kubeconfig.read_text())
    for entry in content["users"]:
        entry["user"] = user
    path.write_text(json.dumps(content))
    return str(path)


class Following:
    """Watches that run, and an event for each change."""

    def __init__(self, client: ApiClient) -> None:
        self._changed = trio.Event()
        self.watches = Watches(client, self._on_change, Random(0))

    def _on_change(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[Snapshot], object]) -> None:
        with trio.fail_after(PATIENCE):
            while not condition(self.watches.snapshot):
                self._changed = trio.Event()
                await self._changed.wait()


@asynccontextmanager
async def following(config: ClusterConfig, *wanted: Watch) -> AsyncIterator[Following]:
    async with ApiClient(config.server) as client, trio.open_nursery() as nursery:
        found = Following(client)
        await nursery.start(found.watches.run)
        found.watches.want(frozenset(wanted))
        yield found
        nursery.cancel_scope.cancel()


async def test_every_kind_is_listed_and_watched(bed: Bed, space: str) -> None:
    """The paths of all kinds are the API's; what is made and deleted arrives."""
    wanted = [Watch(kind, space) for kind in KINDS]
    services = Watch(SERVICE, space)
    async with following(await load_cluster_config(str(bed.kubeconfig), None), *wanted) as found:
        await found.until(lambda now: len(now.objects) == len(wanted))
        assert not found.watches.snapshot.problems
        await trio.to_thread.run_sync(apply, bed, space, service("web"))
        await found.until(lambda now: (space, "web") in now.objects[services])
        await trio.to_thread.run_sync(lambda: bed.kubectl("-n", space, "delete", "service", "web"))
        await found.until(lambda now: (space, "web") not in now.objects[services])


def of(snapshot: Snapshot, watch: Watch, kind: type[T]) -> list[T]:
    return [item for item in snapshot.objects.get(watch, {}).values() if isinstance(item, kind)]


async def test_a_token_with_few_rights_works_where_it_may(bed: Bed, space: str, tmp_path: Path) -> None:
    """A role in one namespace: its pods are there, deployments and other namespaces are problems, marked forbidden."""
    token = bed.kubectl("-n", space, "create", "token", "reader").strip()
    config = await load_cluster_config(kubeconfig(bed, tmp_path / "config", {"token": token}), None)
    pods, deployments, everywhere = Watch(POD, space), Watch(DEPLOYMENT, space), Watch(POD, "")
    async with following(config, pods, deployments, everywhere) as found:
        await found.until(lambda now: now.synced(pods) and {deployments, everywhere} <= now.problems.keys())
        problems = found.watches.snapshot.problems
        assert problems[deployments].forbidden
        assert problems[everywhere].forbidden
        assert f'cannot list resource "deployments" in API group "apps" in the namespace "{space}"' in (
            problems[deployments].text
        )


async def test_an_exec_plugin_gives_the_token(bed: Bed, space: str, tmp_path: Path) -> None:
    """As with the clouds' login commands."""
    token = bed.kubectl("-n", space, "create", "token", "reader").strip()
    version = "client.authentication.k8s.io/v1"
    answer = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": token}}
    plugin = {"apiVersion": version, "command": sys.executable, "args": ["-c", f"print({json.dumps(answer)!r})"]}
    config = await load_cluster_config(kubeconfig(bed, tmp_path / "config", {"exec": plugin}), None)
    async with ApiClient(config.server) as client:
        assert (await client.server_version()).startswith("v1.")
        with pytest.raises(NotFoundError, match='pods "nothing" not found'):
            await client.get(POD, space, "nothing")


async def test_a_token_that_is_refused_is_replaced_by_the_one_that_the_kubeconfig_has_by_then(
    bed: Bed, space: str, tmp_path: Path
) -> None:
    """A new login while we run is enough: the 401 is met once, and nobody hears of it."""
    config = await load_cluster_config(kubeconfig(bed, tmp_path / "config", {"token": "unknown"}), None)
    token = bed.kubectl("-n", space, "create", "token", "reader").strip()
    kubeconfig(bed, tmp_path / "config", {"token": token})
    async with ApiClient(config.server) as client:
        with pytest.raises(NotFoundError):
            await client.get(POD, space, "nothing")


async def test_watches_outlive_the_api_server(bed: Bed, space: str) -> None:
    """Killed and started again: a problem meanwhile, the objects stay, and what changes afterwards arrives."""
    services = Watch(SERVICE, space)
    await trio.to_thread.run_sync(apply, bed, space, service("before"))
    async with following(await load_cluster_config(str(bed.kubeconfig), None), services) as found:
        await found.until(lambda now: (space, "before") in now.objects.get(services, {}))
        await trio.to_thread.run_sync(bed.kill, "apiserver")
        try:
            await found.until(lambda now: services in now.problems)
            assert (space, "before") in found.watches.snapshot.objects[services]
        finally:
            await trio.to_thread.run_sync(bed.start, "apiserver")
        await trio.to_thread.run_sync(apply, bed, space, service("after"))
        await found.until(lambda now: (space, "after") in now.objects[services] and not now.problems)
