"""Watches over TLS and real sockets against the embedded cluster: what it shows in the end is what there is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.access import Rule
from watcher.cluster.api_client import ApiClient
from watcher.cluster.cluster_config import load_cluster_config
from watcher.cluster.clusters import Watches
from watcher.cluster.kinds import SERVICE
from watcher.cluster.store import Snapshot, Watch

SERVICES = Watch(SERVICE, "default")
PORTS = [{"port": 80}]
# Real time: the longest backoff is 5 s, a forbidden watch's pause is not met here.
PATIENCE = 60.0


class Following:
    def __init__(self) -> None:
        self._changed = trio.Event()
        self.snapshot = Snapshot()

    def on_change(self) -> None:
        self._changed.set()

    def names(self) -> set[str]:
        return {name for _, name in self.snapshot.objects.get(SERVICES, {})}

    async def until(self, condition: Callable[[], object]) -> None:
        with trio.fail_after(PATIENCE):
            while not condition():
                self._changed = trio.Event()
                await self._changed.wait()


@asynccontextmanager
async def following(kubeconfig: Path) -> AsyncIterator[Following]:
    found = Following()
    config = await load_cluster_config(str(kubeconfig), None)
    async with ApiClient(config.server) as client, trio.open_nursery() as nursery:
        watches = Watches(client, found.on_change, Random(0))
        found.snapshot = watches.snapshot
        watches.want(frozenset({SERVICES}))
        await nursery.start(watches.run)
        yield found
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("code", [0, 410, 504])
async def test_a_watch_that_is_ended_goes_on(tmp_path: Path, code: int) -> None:
    """Ended without a word, by ERROR 410 or 504: what changes then and afterwards is seen."""
    async with EmbeddedCluster.open() as cluster:
        cluster.service("old", {}, PORTS)
        async with following(cluster.kubeconfig(tmp_path / "config")) as found:
            await found.until(lambda: found.names() == {"old"})
            cluster.service("second", {}, PORTS)
            await found.until(lambda: found.names() == {"old", "second"})
            cluster.fail_watches(code=code)
            cluster.service("third", {}, PORTS)
            cluster.delete("Service", "old")
            await found.until(lambda: found.names() == {"second", "third"})
            await found.until(lambda: not found.snapshot.problems)


async def test_what_vanished_while_the_server_was_away_is_gone_when_it_is_back(tmp_path: Path) -> None:
    """Away, the old objects stay and a problem is said; back, with its history gone, only what is there is shown."""
    async with EmbeddedCluster.open() as cluster:
        cluster.service("old", {}, PORTS)
        async with following(cluster.kubeconfig(tmp_path / "config")) as found:
            await found.until(lambda: found.names() == {"old"})
            await cluster.stop_server()
            await found.until(lambda: found.snapshot.problems)
            assert found.names() == {"old"}
            cluster.delete("Service", "old")
            cluster.service("new", {}, PORTS)
            cluster.store.compact()
            await cluster.start_server()
            await found.until(lambda: found.names() == {"new"} and not found.snapshot.problems)


async def test_a_token_that_is_revoked_is_replaced_by_the_kubeconfigs_next(tmp_path: Path) -> None:
    """The watch meets 401, says so while no token is good, and goes on with the one that stands there then."""
    rules = Rule(("list", "watch"), ("services",))
    async with EmbeddedCluster.open() as cluster:
        token = cluster.access.grant("ann", rules)
        path = cluster.kubeconfig(tmp_path / "config", token)
        async with following(path) as found:
            await found.until(lambda: found.snapshot.synced(SERVICES))
            cluster.access.revoke(token)
            cluster.fail_watches()
            await found.until(lambda: found.snapshot.problems)
            assert "log in again" in found.snapshot.problems[SERVICES].text
            cluster.kubeconfig(path, cluster.access.grant("ann", rules))
            cluster.service("new", {}, PORTS)
            await found.until(lambda: found.names() == {"new"} and not found.snapshot.problems)
