"""A forward is tested and tried again at the status address of a portside that runs."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import httpx
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.pods import Port
from fixtures.net.connect import ConnectProxy
from tests.cli.made import NAMESPACE, Place
from tests.support.process import Portside, portside
from watcher.board.actions import REFUSED_WITHIN


async def url(place: Place) -> str:
    return (await trio.to_thread.run_sync(place.portside, "status", "--url")).stdout.strip()


async def act(place: Place, what: str, record: dict[str, Any], **query: str) -> dict[str, Any]:
    """The answer to this action on this forward."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        params = {"id": record["id"], **query}
        answer = await client.post(f"{await url(place)}/v1/{what}", params=params, headers={"X-Portside": "1"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_test_says_what_the_pod_and_the_runtime_answer(cluster: EmbeddedCluster, place: Place) -> None:
    """An application that answers; a port on which nothing listens, which the listener alone would not show."""
    await cluster.deployment("dead", [Port(8080, None)], namespace=NAMESPACE)
    command = ("forward", "svc/web", ":8080", "deployment/dead", ":8080")
    async with portside(*command, environment=place.environment, folder=place.folder) as program:
        web, dead = await program.ready("web"), await program.ready("dead")
        answer = await act(place, "test", web, path="/")
        assert (answer["ok"], answer["answer"]) == (True, "HTTP/1.1 200")
        assert (await act(place, "test", web))["answer"] == "connected"
        answer = await act(place, "test", dead)
        assert not answer["ok"]
        assert "connection refused" in answer["reason"]
        assert await program.end() == 0


async def test_a_test_waits_for_the_runtimes_proof(cluster: EmbeddedCluster, place: Place) -> None:
    """On a slow way to the API server the refusal comes after the usual time: until then nothing is said to work."""
    await cluster.deployment("dead", [Port(8080, None)], namespace=NAMESPACE)
    proxy = ConnectProxy()
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.serve)
        go_through(proxy, Path(place.environment["KUBECONFIG"]))
        command = ("forward", "deployment/dead", ":8080")
        async with portside(*command, environment=place.environment, folder=place.folder) as program:
            dead = await program.ready("dead")
            proxy.passing = trio.Event()
            nursery.start_soon(open_later, proxy.passing, REFUSED_WITHIN + 1)
            answer = await act(place, "test", dead)
            assert not answer["ok"], answer
            assert await program.end() == 0
        nursery.cancel_scope.cancel()


def go_through(proxy: ConnectProxy, config: Path) -> None:
    """The kubeconfig's cluster is reached through the proxy from now on."""
    given = json.loads(config.read_text())
    given["clusters"][0]["cluster"]["proxy-url"] = f"http://127.0.0.1:{proxy.port}"
    config.write_text(json.dumps(given))


async def open_later(passing: trio.Event, seconds: float) -> None:
    await trio.sleep(seconds)
    passing.set()


async def test_a_retry_binds_a_port_that_became_free(cluster: EmbeddedCluster, place: Place) -> None:
    """Before that it fails again, with its reason; a forward that works is left alone."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        command = ("forward", "svc/web", f"{port}:8080", "svc/web", ":8080")
        async with portside(*command, environment=place.environment, folder=place.folder) as program:
            other = await program.ready("web")
            failed = await failure(program)
            assert (await act(place, "retry", other))["retried"] is False
            assert (await act(place, "retry", failed))["retried"] is True
            holder.close()
            await act(place, "retry", failed)
            ready = await program.ready("web", localPort=port)
            assert ready["id"] == failed["id"]
            assert await program.end() == 0


async def failure(program: Portside) -> dict[str, Any]:
    await program.wait_for(lambda records: any(one.get("state") == "failed" for one in records))
    return next(one for one in program.records if one.get("state") == "failed")
