"""Connections that wait, on the real cluster: what the real runtime says, whose requests are executed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from fixtures.cluster.bed import Bed
from fixtures.net.way import Way
from tests.chaos.causes import api_server, kubeconfig
from tests.cluster.test_requests_once import counting
from tests.support.objects import apply, deployment, rolled_out
from tests.support.process import Portside, portside

pytestmark = pytest.mark.cluster

REFUSED = 7999


@asynccontextmanager
async def far(bed: Bed, round_trip: float, path: Path) -> AsyncIterator[dict[str, str]]:
    """The environment in which the API server is that far away."""
    async with trio.open_nursery() as nursery:
        way = Way(api_server(bed), round_trip / 2)
        port = await nursery.start(way.serve)
        yield dict(bed.environment()) | {"KUBECONFIG": str(kubeconfig(bed, path / "far", port))}
        nursery.cancel_scope.cancel()


async def kubectl(bed: Bed, space: str, *arguments: str) -> None:
    await trio.to_thread.run_sync(partial(bed.kubectl, "-n", space, *arguments, timeout=90))


def reason(running: Portside) -> str:
    record = running.last("web", remotePort=REFUSED) or {}
    return str(record.get("reason", ""))


@pytest.mark.parametrize("round_trip", [0.0, 0.25])
async def test_what_the_runtime_said_is_shown(bed: Bed, space: str, round_trip: float, tmp_path: Path) -> None:
    """The real runtime's refusal is the reason, however far it is; the error of the connection says the same."""
    apply(bed, space, deployment("web"))
    rolled_out(bed, space, "web")
    async with (
        far(bed, round_trip, tmp_path) as environment,
        portside("forward", "-n", space, "--hold=4", "deploy/web", f":{REFUSED}", environment=environment) as running,
    ):
        port = (await running.ready("web"))["localPort"]
        said = re.compile(rf"nothing listens on {REFUSED} in pod web-\S+: connection refused")
        async with await trio.open_tcp_stream("127.0.0.1", port) as client:
            await client.send_all(b"hello")
            await running.wait_for(lambda _: reason(running).endswith("; 1 connection waits"), 10)
            assert said.match(reason(running))
            with pytest.raises(trio.BrokenResourceError), trio.fail_after(60):
                await client.receive_some()
        await running.says("a connection was given up after 4 s: nothing listens on")
        assert said.search(running.stderr)


async def test_posts_of_clients_that_gave_up_are_not_executed(
    bed: Bed, space: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`curl -m 1 -X POST` five times with no pod, then one that waits: the pod that comes executes that one alone."""
    record = tmp_path_factory.mktemp("count")
    apply(bed, space, counting(record))
    rolled_out(bed, space, "count")
    await kubectl(bed, space, "scale", "deployment/count", "--replicas=0")
    await kubectl(bed, space, "wait", "--for=delete", "pod", "-l", "app=count", "--timeout=60s")
    async with portside("forward", "-n", space, "deploy/count", ":8080", environment=bed.environment()) as running:
        await running.wait_for(lambda _: (running.last("count") or {}).get("state") == "listening")
        url = f"http://127.0.0.1:{(running.last('count') or {})['localPort']}/count?id="

        async def curl(ident: str, seconds: int) -> int:
            command = ["curl", "-s", "-m", str(seconds), "-X", "POST", url + ident]
            return (await trio.run_process(command, check=False)).returncode

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(curl, f"gone-{number}", 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(curl, "waits", 60)
            await running.wait_for(lambda _: (running.last("count") or {})["reason"].endswith("1 connection waits"))
            await kubectl(bed, space, "scale", "deployment/count", "--replicas=1")
        await trio.sleep(2)  # what should not come would come now
        assert (record / "ids").read_text().split() == ["waits"]
