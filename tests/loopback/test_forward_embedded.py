"""The program itself against the embedded cluster, over real sockets: what must hold when things behind it change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.apps import late
from fixtures.embedded.deployment import Deployment
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web
from tests.support import pages
from tests.support.process import Portside, portside

PATIENCE = 60.0


class Stage:
    """A deployment `web`, and a portside that forwards to it."""

    def __init__(self, cluster: EmbeddedCluster, deployment: Deployment, program: Portside) -> None:
        self.cluster = cluster
        self.deployment = deployment
        self.program = program

    async def port(self, remote: int) -> int:
        """The local port of the forward to a remote one, once it is ready."""
        record = await self.program.ready("web", remotePort=remote)
        local: int = record["localPort"]
        return local

    async def rollout(self, content: str, delay: float = 0.0) -> None:
        await self.deployment.rollout(ports(content, delay))


def ports(content: str, delay: float = 0.0) -> list[Port]:
    return [Port(8080, web(content), "http", delay), Port(7001, late(2.0)), Port(9999)]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """`portside forward deployment/web` with three ports: http, late, and one where nothing listens."""
    async with EmbeddedCluster.open() as cluster:
        deployment = await cluster.deployment("web", ports("one"))
        kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig")
        arguments = ("forward", f"--kubeconfig={kubeconfig}", "--address=127.0.0.1", "deployment/web")
        async with portside(*arguments, ":8080", ":7001", ":9999") as program:
            yield Stage(cluster, deployment, program)


async def talk(port: int, request: bytes, *, fin: bool = False) -> bytes:
    """Everything that one new connection answers. Raises OSError, trio.BrokenResourceError, trio.TooSlowError."""
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream("127.0.0.1", port) as conn:
            await conn.send_all(request)
            if fin:
                await conn.send_eof()
            return b"".join([bytes(data) async for data in conn])


async def page(port: int) -> str:
    return await pages.page(port, PATIENCE)


async def test_a_replaced_pod(stage: Stage) -> None:
    """The same local port forwards to the new pod, on the first try, after each rollout."""
    port = await stage.port(8080)
    assert await page(port) == "one"
    for content in ("two", "three", "four"):
        await stage.rollout(content)
        assert await page(port) == content


async def test_an_app_that_listens_late(stage: Stage) -> None:
    """A connection that comes before the new pod's app listens is held, and answered then."""
    port = await stage.port(8080)
    await stage.rollout("two", delay=1.5)
    assert await page(port) == "two"
    assert sum(pod.requests["GET /"] for pod in stage.deployment.pods) == 1


async def test_the_api_server_goes_and_comes_back(stage: Stage) -> None:
    """What was deployed while the API server was away is reached once it is back; nobody is refused meanwhile."""
    port = await stage.port(8080)
    await stage.cluster.stop_server()
    # A connection in the moment of the loss may have reached the pod: it is rightly reset, not sent again.
    await stage.program.wait_for(lambda _: (stage.program.last("web", remotePort=8080) or {})["state"] == "listening")
    await stage.rollout("two")
    async with trio.open_nursery() as nursery:
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await page(port))

        nursery.start_soon(ask)
        await stage.cluster.start_server()
    assert answers == ["two"]


@pytest.mark.parametrize("code", [0, 410, 504])
async def test_watches_that_fail(stage: Stage, code: int) -> None:
    """However the watches end, the next rollout is followed."""
    port = await stage.port(8080)
    stage.cluster.fail_watches(code=code)
    await stage.rollout("two")
    assert await page(port) == "two"


async def test_sessions_that_are_cut(stage: Stage) -> None:
    """A cut session costs the connections that were on it: they break, and soon after the port answers as before."""
    port = await stage.port(8080)
    async with await trio.open_tcp_stream("127.0.0.1", port) as conn:
        await conn.send_all(b"GET /hold HTTP/1.1\r\nHost: test\r\n\r\n")
        pod = stage.deployment.pods[0]
        with trio.fail_after(PATIENCE):
            await pod.sandbox.here.requested.wait()
            stage.cluster.fail_sessions()
            with pytest.raises(trio.BrokenResourceError):
                await conn.receive_some()
    # A request that was under way to the other session that was cut may be lost; it is not sent twice.
    with trio.fail_after(PATIENCE):
        while not await _answers(port):
            pass


async def test_a_late_answer_to_a_half_closed_request(stage: Stage) -> None:
    """The client's FIN is held back until the answer has come: the runtime would cut it off after a second."""
    port = await stage.port(7001)
    assert await talk(port, b"hi\n", fin=True) == b"late: 3 hi\n"


async def test_a_port_where_nothing_listens_harms_no_other(stage: Stage) -> None:
    """Refused dials with data behind them stop workers of the session; other connections to that pod go on."""
    port, dead = await stage.port(8080), await stage.port(9999)
    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(_knock, dead)
        for _ in range(20):
            assert await page(port) == "one"
        nursery.cancel_scope.cancel()


async def _answers(port: int) -> bool:
    try:
        return await page(port) == "one"
    except trio.BrokenResourceError:
        return False


async def _knock(port: int) -> None:
    """A request that nobody answers: held until the test is over, or reset when its time is."""
    try:
        await talk(port, b"GET / HTTP/1.0\r\n\r\n")
    except (OSError, trio.BrokenResourceError, trio.TooSlowError):
        return
