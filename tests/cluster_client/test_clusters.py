"""Clusters beside the default one: opened when a forward is in one; a context that is wrong costs only its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from fixtures.embedded.cluster import EmbeddedCluster
from fixtures.embedded.pod import Pod
from forwarders.spec import PodRef
from watcher.cluster.cluster_config import load_cluster_config
from watcher.cluster.clusters import ClusterConnection, OtherClusters
from watcher.cluster.kinds import POD
from watcher.cluster.store import OtherCluster, Watch

PODS = Watch(POD, "default")


class Seen:
    """What is known of `contexts`, and a way to wait for it."""

    def __init__(self, path: Path) -> None:
        self._changed = trio.Event()
        self.others = OtherClusters(str(path), self.changed)

    def changed(self) -> None:
        self._changed.set()

    async def change(self) -> None:
        self._changed = trio.Event()
        await self._changed.wait()

    async def until(self, *contexts: str, problem: str = "", pods: int = -1) -> OtherCluster:
        """The last of these contexts, once it has this problem or so many pods."""
        with trio.fail_after(60):
            while True:
                self._changed = trio.Event()
                *_, last = self.others.seen(contexts)
                self.others.want(frozenset(Watch(POD, "default", cluster=context) for context in contexts))
                found = last.cluster.objects.get(PODS)
                if (problem and problem in last.problem) or (found is not None and len(found) == pods):
                    return last
                await self._changed.wait()


async def test_a_context_is_opened_when_it_is_first_asked_for(nursery: trio.Nursery, tmp_path: Path) -> None:
    """Its namespace and its own objects are known then; the pods are reached by its own way."""
    async with EmbeddedCluster.open() as cluster:
        await cluster.pod("web-0")
        seen = Seen(cluster.kubeconfig(tmp_path / "config", namespace="shop"))
        [before] = seen.others.seen(["embedded"])
        nursery.start_soon(seen.others.run, lambda _: None)
        found = await seen.until("embedded", pods=1)
        assert (before.cluster.objects, before.problem) == ({}, "")
        assert (found.context, found.namespace, found.problem) == ("embedded", "shop", "")
        seen.others.check()
        route = seen.others.route("embedded")
        with trio.fail_after(60):
            channel, _ = await route.open_channel(
                PodRef("default", "web-0", next(iter(found.cluster.objects[PODS].values())).metadata.uid)  # type: ignore[attr-defined] # a pod
            )
        channel.close()
        nursery.cancel_scope.cancel()


async def test_a_context_that_is_not_there_is_waited_for(
    nursery: trio.Nursery, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once; the other one is open all the while. An edit of the kubeconfig brings it."""
    async with EmbeddedCluster.open() as cluster:
        path = cluster.kubeconfig(tmp_path / "config")
        seen = Seen(path)
        nursery.start_soon(seen.others.run, lambda _: None)
        await seen.until("embedded", "later", problem="later")
        await seen.until("later", "embedded", pods=0)
        with pytest.raises(LookupError, match="later"):
            seen.others.route("later")
        seen.others.check()
        contexts = '"contexts": [{"name": "later", "context": {"cluster": "embedded", "user": "user"}},'
        path.write_text(path.read_text().replace('"contexts": [', contexts))
        await seen.until("embedded", "later", pods=0)
        assert caplog.text.count("only its forwards are missing") == 1
        nursery.cancel_scope.cancel()


async def test_one_that_the_caller_has_opened_is_used_as_it_is(nursery: trio.Nursery, tmp_path: Path) -> None:
    """`forward` looks its targets up before anything runs."""
    async with EmbeddedCluster.open() as cluster:
        path = cluster.kubeconfig(tmp_path / "config")
        seen = Seen(path)
        async with ClusterConnection(await load_cluster_config(str(path), "embedded"), seen.changed) as opened:
            seen.others.connected["embedded"] = opened
            nursery.start_soon(seen.others.run, lambda _: None)
            await seen.until("embedded", pods=0)
            assert seen.others.route("embedded") is opened.route
            nursery.cancel_scope.cancel()


async def test_an_address_that_is_given_to_another_pod(nursery: trio.Nursery, tmp_path: Path) -> None:
    """Only the pod that has it now has it, for the API server and for the watch; none while that is being deleted."""
    async with EmbeddedCluster.open() as cluster:
        seen = Seen(cluster.kubeconfig(tmp_path / "config"))
        nursery.start_soon(seen.others.run, lambda _: None)

        async def another() -> PodRef:
            there.append(await cluster.pod("web-0"))
            metadata = there[-1].manifest["metadata"]
            return PodRef("default", metadata["name"], metadata["uid"])

        async def have(address: str = "192.0.2.10") -> list[PodRef]:
            """Which pods have the address; the watch has to say the same as the API server."""
            confirmed = [one for one in pods if await route.confirm(one, address)]
            with trio.fail_after(60):
                while [one for one in pods if route.shown(one, address)] != confirmed:
                    await seen.change()
            return confirmed

        there: list[Pod] = []
        pods = [await another()]
        await seen.until("embedded", pods=1)
        route = seen.others.route("embedded")
        assert (await have(), await have("192.0.2.99")) == (pods, [])
        there[-1].begin_deletion()
        assert await have() == []
        there[-1].vanish()
        pods.append(await another())
        assert await have() == pods[1:]
        cluster.fail_watches()
        await cluster.stop_server()
        assert await have() == []
        nursery.cancel_scope.cancel()
