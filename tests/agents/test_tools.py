"""The tools of `portside mcp`, each called by the SDK's own client beside an embedded cluster and a played Skaffold."""

from __future__ import annotations

import sys

import pytest
import trio
from click.testing import CliRunner

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.skaffold_api import SkaffoldApi
from tests.agents.client import agent
from tests.cli.conftest import cluster, place
from tests.cli.made import Place, closed_port
from tests.cli.test_wait_iteration import RECORDED, task
from tests.support.process import portside
from watcher.cli.utility_commands import mcp_command
from watcher.errors import UsageError

__all__ = ["cluster", "place"]

TOOLS = {
    "wait_until_saved_is_served",
    "wait_until_ready",
    "list_forwards",
    "explain",
    "test_forward",
    "recent_changes",
    "doctor",
}


async def test_an_agent_beside_skaffold(cluster: EmbeddedCluster, place: Place) -> None:
    """What it lists, explains and tests; a save that is served, and one whose build fails."""
    async with SkaffoldApi.open(RECORDED) as skaffold:
        command = ("watch", "--skaffold", skaffold.url, "--port-forward=services")
        running = portside(*command, environment=place.environment, folder=place.folder)
        async with running as program, agent(place.environment, place.folder) as ours:
            assert {tool.name for tool in (await ours.client.list_tools()).tools} == TOOLS
            record = await program.ready("web")
            assert (await ours.call("wait_until_ready", names=["svc/web"])) == {"ready": True, "problems": []}
            [found] = (await ours.call("list_forwards"))["portsides"]
            assert found["skaffold"]["phase"] == "idle"
            assert [(one["url"], one["state"]) for one in found["forwards"]] == [(record["url"], "ready")]
            [verdict] = (await ours.call("explain", name="svc/web"))["verdicts"]
            assert verdict["forwarded"]
            answer = await ours.call("test_forward", name="svc/web", path="/")
            assert (answer["ok"], answer["answer"].split()) == (True, ["HTTP/1.1", "200"])
            assert (await ours.call("test_forward", name="svc/web:8080"))["ok"]

            async with trio.open_nursery() as nursery:
                nursery.start_soon(play_a_loop, skaffold)
                saved = await ours.call("wait_until_saved_is_served", notice_within=60)
            assert saved == {"served": True, "problems": [], "iterations": ["Skaffold's iteration 9 is served"]}
            changes = (await ours.call("recent_changes"))["changes"]
            assert {"forward", "skaffold"} <= {change["kind"] for change in changes}
            assert next(change["phase"] for change in changes if change["kind"] == "skaffold") == "idle"
            [newest] = (await ours.call("recent_changes", name="svc/web", count=1))["changes"]
            assert (newest["resourceName"], newest["state"]) == ("web", "ready")

            skaffold.play(task("DevLoop", "InProgress", 10))
            skaffold.play(task("Build", "Failed", 10, "no such file"))
            skaffold.play(task("DevLoop", "Failed", 10, "no such file"))
            await program.wait_for(lambda records: records[-1].get("failed") is True)
            failed = await ours.call("wait_until_saved_is_served", notice_within=0.1)
            assert failed["problems"] == ["Skaffold's iteration 10 failed: no such file"]
            assert not failed["served"]


async def play_a_loop(skaffold: SkaffoldApi) -> None:
    """Some time after the question: the first line of a loop may be told before or after it."""
    await trio.sleep(2)
    for name, status in (("DevLoop", "InProgress"), ("Deploy", "Succeeded"), ("DevLoop", "Succeeded")):
        skaffold.play(task(name, status, 9))


async def test_a_port_that_refuses(cluster: EmbeddedCluster, place: Place) -> None:
    """The test of a forward has the runtime's own words, and a pod that is not there is a reason."""
    refused = closed_port()
    command = ("forward", "deploy/web", f":{refused}")
    async with portside(*command, environment=place.environment, folder=place.folder) as program:
        await program.ready("web")
        async with agent(place.environment, place.folder) as ours:
            answer = await ours.call("test_forward", name="deploy/web", path="/")
            assert not answer["ok"]
            assert answer["reason"]


async def test_what_an_agent_gets_wrong(cluster: EmbeddedCluster, place: Place) -> None:
    """Each mistake is one line that says what to do; the server goes on."""
    async with agent(place.environment, place.folder) as ours:
        assert "no portside runs here" in await ours.error("list_forwards")
        waited = await ours.call("wait_until_ready", timeout=0.1)
        assert waited == {"ready": False, "problems": ["not ready within 0.1 s", "no portside runs here"]}
        assert "is not a number of seconds" in await ours.error("wait_until_ready", timeout=-1)
        assert "'widget'" in await ours.error("wait_until_ready", names=["widget/web"])
        findings = (await ours.call("doctor"))["findings"]
        assert "kubeconfig" in {finding["check"] for finding in findings}
        command = ("forward", "svc/web", ":8080", "deploy/web", ":8080", "deploy/web", ":http")
        async with portside(*command, environment=place.environment, folder=place.folder) as program:
            await program.wait_for(lambda _: len(program.forwards) == 3)
            assert "means several forwards" in await ours.error("test_forward", name="deploy/web")
            assert "is not forwarded" in await ours.error("test_forward", name="svc/api")
            assert "a path begins with /" in await ours.error("test_forward", name="svc/web", path="no path")
            waited = await ours.call("wait_until_saved_is_served")
            assert not waited["served"]
            assert waited["problems"][-1] == "no Skaffold is followed here, so there is no iteration"


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the command that installs it."""
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    result = CliRunner().invoke(mcp_command, [])
    assert isinstance(result.exception, UsageError)
    assert "pip install 'portside[mcp]'" in str(result.exception)
