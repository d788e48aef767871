"""Configurations that deploy to different kube-contexts: one portside serves both, and neither waits for the other.

The bed has one API server. The second context reaches it through a proxy that can be stopped.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
import yaml

from fixtures.cluster.bed import Bed
from fixtures.net.way import Way
from tests.skaffold_e2e.developing import idle
from tests.support.objects import Manifest, apply, deployment, namespace, rolled_out, service
from tests.support.probe import get, probing
from tests.support.process import Portside, Record, portside
from tests.support.sockets import free_port

pytestmark = pytest.mark.skaffold

CONFIG = """apiVersion: skaffold/v4beta13
kind: Config
metadata: {{name: {name}}}
manifests: {{rawYaml: [{name}.json]}}
deploy: {{kubeContext: {name}, kubectl: {{}}}}
portForward:
  - {{resourceType: deployment, resourceName: {name}, port: http, localPort: {port}}}
"""


class Clusters:
    """The contexts `near`, the bed itself, and `far`, the same through a proxy."""

    def __init__(self, bed: Bed, folder: Path, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._content = yaml.safe_load(bed.kubeconfig.read_text())
        server = urlsplit(self._content["clusters"][0]["cluster"]["server"])
        self.way = Way((str(server.hostname), int(server.port or 443)))
        self.kubeconfig = folder / "contexts"
        self.environment = bed.environment() | {"KUBECONFIG": str(self.kubeconfig), "HOME": str(folder)}

    async def start(self, port: int = 0) -> None:
        """The far one answers from now on."""

        async def serve(*, task_status: trio.TaskStatus[int]) -> None:
            with self._scope:
                await self.way.serve(port, task_status=task_status)

        self._scope = trio.CancelScope()
        await self._nursery.start(serve)

    def stop(self) -> None:
        """Its connections are reset, new ones refused."""
        self.way.cut()
        self._scope.cancel()

    def write(self, port: int) -> None:
        [cluster], [user] = self._content["clusters"], self._content["users"]
        far = cluster | {"name": "far", "cluster": cluster["cluster"] | {"server": f"https://127.0.0.1:{port}"}}
        contexts = [
            {"name": name, "context": {"cluster": where, "user": user["name"]}}
            for name, where in (("near", cluster["name"]), ("far", "far"))
        ]
        found = self._content | {"clusters": [cluster, far], "contexts": contexts, "current-context": "near"}
        self.kubeconfig.write_text(json.dumps(found))


@asynccontextmanager
async def two(bed: Bed, folder: Path) -> AsyncIterator[Clusters]:
    async with trio.open_nursery() as nursery:
        clusters = Clusters(bed, folder, nursery)
        await clusters.start()
        clusters.write(clusters.way.port)
        yield clusters
        nursery.cancel_scope.cancel()


def web(name: str) -> list[Manifest]:
    return [deployment(name, CONTENT=f"this is {name}"), service(name)]


def project(folder: Path) -> dict[str, int]:
    """Two configurations in one file, each with an entry and its local port."""
    ports = {name: free_port() for name in ("near", "far")}
    for name in ports:
        (folder / f"{name}.json").write_text("\n---\n".join(json.dumps(one) for one in web(name)))
    text = "---\n".join(CONFIG.format(name=name, port=port) for name, port in ports.items())
    (folder / "skaffold.yaml").write_text(text)
    return ports


async def text(record: Record) -> str:
    return (await get(record["localPort"], "/"))[2].decode().splitlines()[0]


def told_of(running: Portside, name: str) -> list[tuple[str, str]]:
    """State and pod in every record of this forward."""
    records = [one for one in running.records if one["kind"] == "forward" and one["resourceName"] == name]
    return [(one["state"], one["pod"]) for one in records]


async def is_waiting(running: Portside, name: str) -> None:
    await running.wait_for(lambda _: (running.last(name) or {}).get("state") in {"listening", "waiting"})


async def test_two_contexts_in_one_skaffold_dev(bed: Bed, tmp_path: Path) -> None:
    """Both are served. The second cluster is stopped and started: the first one's forward notices nothing."""
    ports = project(tmp_path)
    with namespace(bed, f"contexts-{ports['near']}") as space:
        async with two(bed, tmp_path) as clusters:
            words = ("run", "--", "skaffold", "dev", "--port-forward=user", "-n", space)
            async with portside(*words, environment=clusters.environment, folder=tmp_path, session=True) as running:
                near, far = await running.ready("near", 90), await running.ready("far", 90)
                assert {"near": near["localPort"], "far": far["localPort"]} == ports
                assert (near["context"], far["context"]) == ("near", "far")
                assert [await text(one) for one in (near, far)] == ["this is near", "this is far"]
                await idle(running, 1)  # a status check that loses its cluster ends Skaffold
                async with probing(near["localPort"]) as verdicts:
                    await verdicts.good(20)
                    said = len(told_of(running, "near"))
                    clusters.stop()
                    await is_waiting(running, "far")
                    await verdicts.good(100)
                    await clusters.start(clusters.way.port)
                    assert await text(await running.ready("far", 30)) == "this is far"
                    await verdicts.good(20)
                assert verdicts.failures == {}
                # On a busy machine a reason may say that connections wait for a session; nothing else changes.
                assert set(told_of(running, "near")[said - 1 :]) == {("ready", near["pod"])}


async def test_a_forward_in_each_context(bed: Bed, tmp_path: Path) -> None:
    """`forward --context A … --context B …`: each in its own cluster. A stopped cluster's forward is ready later."""
    with namespace(bed, f"contexts-{free_port()}") as space:
        apply(bed, space, *web("near"), *web("far"))
        rolled_out(bed, space, "near", "far")
        async with two(bed, tmp_path) as clusters:
            clusters.stop()
            places = ("--context", "near", "svc/near", ":8080", "--context=far", "svc/far", ":8080")
            words = ("forward", "-n", space, *places)
            async with portside(*words, environment=clusters.environment, folder=tmp_path) as running:
                near = await running.ready("near", 20)
                assert (near["context"], await text(near)) == ("near", "this is near")
                await is_waiting(running, "far")
                await clusters.start(clusters.way.port)
                far = await running.ready("far", 30)
                assert (far["context"], await text(far)) == ("far", "this is far")
                assert near["id"] != far["id"]
                assert await running.end() == 0


async def test_portside_yaml_names_a_context(bed: Bed, tmp_path: Path) -> None:
    """`context` of a forward: a context that the kubeconfig lacks affects only that forward, until it exists."""
    item = (
        "  - {{resourceType: service, resourceName: {name}, port: 8080, localPort: {port}, namespace: {space}{more}}}\n"
    )
    with namespace(bed, f"contexts-{free_port()}") as space:
        apply(bed, space, *web("near"), *web("far"))
        rolled_out(bed, space, "near", "far")
        async with two(bed, tmp_path) as clusters:
            near = item.format(name="near", port=free_port(), space=space, more="")
            far = item.format(name="far", port=free_port(), space=space, more=", context: later")
            (tmp_path / "portside.yaml").write_text(f"apiVersion: portside/v1\nforwards:\n{near}{far}")
            async with portside("watch", "--cluster", environment=clusters.environment, folder=tmp_path) as running:
                assert await text(await running.ready("near", 20)) == "this is near"
                await running.wait_for(lambda records: any('"later"' in one.get("reason", "") for one in records))
                content = clusters.kubeconfig.read_text()
                content = content.replace('"name": "far", "context"', '"name": "later", "context"')
                clusters.kubeconfig.write_text(content)
                far_record = await running.ready("far", 30)
                assert (far_record["context"], await text(far_record)) == ("later", "this is far")
                assert await running.end() == 0
