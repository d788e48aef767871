"""Listeners stay open through a new run id, and with permissions in one namespace only."""

from __future__ import annotations

import json

import httpx
import pytest

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.access import ADMIN, ANY, Rule
from fixtures.embedded.pods import Port
from fixtures.embedded.skaffold_api import Recording, SkaffoldApi
from fixtures.embedded.web import web
from tests.cli.made import Place
from tests.cli.test_wait_iteration import task
from tests.support.process import Portside, Record, portside

NAMESPACE = "parity"  # the recorded runs'


def reloaded() -> tuple[Recording, Recording, str]:
    """A recorded stream with an edit of skaffold.yaml, split where the second run id is known, and that id."""
    recording = Recording.load("dev-configedit")
    for index, line in enumerate(recording.lines):
        meta = json.loads(line)["result"].get("metaEvent") or {}
        run_id = meta.get("metadata", {}).get("runID") or recording.run_id
        if run_id != recording.run_id:
            return Recording(recording.lines[:index]), Recording(recording.lines[index:]), run_id
    raise AssertionError("no second run id")


def service(cluster: EmbeddedCluster, name: str, run_id: str) -> None:
    labels = {"skaffold.dev/run-id": run_id}
    cluster.service(name, {"app": "web"}, [{"port": 8080}], namespace=NAMESPACE, labels=labels)


def states(program: Portside, name: str) -> list[str]:
    return [r["state"] for r in program.records if r["kind"] == "forward" and r["resourceName"] == name]


async def page(record: Record) -> str:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return (await client.get(record["url"])).text


@pytest.mark.parametrize("late", [False, True])
async def test_a_new_run_id(place: Place, *, late: bool) -> None:
    """An object with the new label keeps its listener; one without it is dropped after the new run's deploy.

    So it is if the watches' events come later than Skaffold's that tells of the deploy.
    """
    first, second, run_id = reloaded()
    async with EmbeddedCluster.open() as cluster, SkaffoldApi.open(first) as skaffold:
        await cluster.deployment("web", [Port(8080, web("hello"), "http")], namespace=NAMESPACE)
        for name in ("stays", "goes"):
            service(cluster, name, first.run_id)
        config = cluster.kubeconfig(place.folder / "embedded", namespace=NAMESPACE)
        command = ("watch", "--skaffold", skaffold.url, "--port-forward=services", f"--kubeconfig={config}")
        async with portside(*command, environment=place.environment, folder=place.folder) as program:
            before = await program.ready("stays")
            await program.ready("goes")
            meta, *rest = second.lines
            skaffold.play(Recording((meta,)))
            await program.wait_for(lambda records: any(r.get("runId") == run_id for r in records))
            assert "hello" in await page(before)
            if late:
                cluster.watches.delay()
            service(cluster, "stays", run_id)
            skaffold.play(Recording(tuple(rest)))
            await program.wait_for(lambda _: states(program, "goes")[-1] == "stopped")
            cluster.watches.catch_up()
            await program.wait_for(lambda records: [r for r in records if r["kind"] == "plan"][-1]["settled"])
            assert "stopped" not in states(program, "stays")
            assert (await program.ready("stays"))["localPort"] == before["localPort"]
            assert "hello" in await page(before)

            known, told = len(program.records), states(program, "goes")
            skaffold.play(task("Deploy", "Succeeded", 9))
            await program.wait_for(lambda records: sum(r["kind"] == "plan" for r in records[known:]) == 2)
            await cluster.stop_server()
            await program.wait_for(lambda _: states(program, "stays")[-1] == "listening")
            assert states(program, "goes") == told  # neither a later deploy nor an outage brings it back


async def test_rights_in_one_namespace(place: Place) -> None:
    """Only the namespace is listed; a restart of the API server changes nothing."""
    recording, _ = Recording.load("handle-post").split("DevLoop", "Succeeded")
    async with EmbeddedCluster.open() as cluster, SkaffoldApi.open(recording) as skaffold:
        await cluster.deployment("web", [Port(8080, web("hello"), "http")], namespace=NAMESPACE)
        service(cluster, "web", recording.run_id)
        cluster.access.restrict(ADMIN, Rule((ANY,), (ANY,), NAMESPACE))
        config = cluster.kubeconfig(place.folder / "embedded", namespace=NAMESPACE)
        command = ("watch", "--skaffold", skaffold.url, "--port-forward=services", f"--kubeconfig={config}")
        async with portside(*command, environment=place.environment, folder=place.folder) as program:
            before = await program.ready("web")
            assert "hello" in await page(before)
            await cluster.stop_server()
            await program.wait_for(lambda _: states(program, "web")[-1] == "listening")
            await cluster.start_server()
            after = await program.ready("web")
            assert after["localPort"] == before["localPort"]
            assert "stopped" not in states(program, "web")
            assert "hello" in await page(after)
