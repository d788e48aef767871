"""The program with --gateway before the embedded cluster: names from the plan, answers through it, everywhere shown."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request, TextMessage

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.deployment import Deployment
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web
from forwarders.system import files
from tests.cli.made import Place, closed_port, kubeconfig
from tests.gateway.made import get, rest
from tests.support.process import Portside, portside

PATIENCE = 60.0


class Stage:
    """Services web (http), two (ports http and admin) and slow (no pod) behind a gateway on `port`."""

    def __init__(self, program: Portside, port: int, web: Deployment, place: Place) -> None:
        self.program = program
        self.port = port
        self.web = web
        self.place = place

    def client(self) -> httpx.AsyncClient:
        """Connections of its own: a client that goes by address reuses one whatever the Host."""
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE)

    async def get(self, host: str, path: str = "/") -> httpx.Response:
        async with self.client() as client:
            return await client.get(path, headers={"Host": f"{host}:{self.port}"})

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
async def stage(place: Place) -> AsyncIterator[Stage]:
    port = closed_port()
    labels = {"app.kubernetes.io/managed-by": "skaffold", "skaffold.dev/run-id": "one"}
    async with EmbeddedCluster.open() as cluster:
        deployment = await cluster.deployment("web", [Port(8080, web("web one"), "http")])
        await cluster.deployment("two", [Port(8080, web("two"), "http"), Port(8081, web("admin"), "admin")])
        await cluster.pod("slow-1", [Port(8080, web("slow"), "http")], labels={"app": "slow"}, scheduled=False)
        one = [{"port": 80, "targetPort": "http", "name": "http"}]
        cluster.service("web", {"app": "web"}, one, labels=labels)
        cluster.service("slow", {"app": "slow"}, one, labels=labels)
        both = [*one, {"port": 81, "targetPort": "admin", "name": "admin"}]
        cluster.service("two", {"app": "two"}, both, labels=labels)
        config = cluster.kubeconfig(place.folder / "embedded")
        words = ("watch", "--cluster", "--run-id=one", "--port-forward=services", f"--kubeconfig={config}")
        more = (f"--gateway={port}", "--hold=0.5", f"--env-file={place.folder}/env")
        async with portside(*words, *more, environment=place.environment, folder=place.folder) as program:
            await program.ready("web")
            await program.ready("two", remotePort=81)
            yield Stage(program, port, deployment, place)


async def test_names_lead_where_they_say(stage: Stage) -> None:
    """By service, namespace, port; through a rollout; what is unknown, waits, or is nobody's, is told."""
    for host in ("web.localhost", "web.default.localhost", "80.web.localhost", "http.web.default.localhost"):
        assert (await stage.get(host)).text.startswith("web one\n")
    assert (await stage.get("two.localhost")).text.startswith("two\n")
    assert (await stage.get("admin.two.localhost")).text.startswith("admin\n")
    await stage.web.rollout([Port(8080, web("web two"), "http")])
    assert (await stage.get("web.localhost")).text.startswith("web two\n")
    unknown = await stage.get("nobody.localhost")
    assert unknown.status_code == 404
    assert f'href="http://81.two.localhost:{stage.port}"' in unknown.text
    slow = await stage.get("slow.localhost")
    assert (slow.status_code, "slow-1" in slow.text) == (503, True)
    assert (await stage.get("rebound.example")).status_code == 421


async def test_the_name_is_shown_everywhere(stage: Stage) -> None:
    """JSON, the list, status, the environment file."""
    url = f"http://web.localhost:{stage.port}"
    record = stage.program.last("web")
    assert record is not None
    assert record["gateway"] == url
    assert (stage.program.last("two", remotePort=81) or {})["gateway"] == f"http://81.two.localhost:{stage.port}"
    with trio.fail_after(60):
        while f"WEB_URL={url}\n" not in await trio.Path(stage.place.folder / "env").read_text():  # noqa: ASYNC110 - a thread writes it
            await trio.sleep(0.05)
    status = await trio.to_thread.run_sync(lambda: stage.place.portside("status"))
    assert f"service/web:80  {url}\n" in status.stdout
    as_json = await trio.to_thread.run_sync(lambda: stage.place.portside("status", "--output", "json"))
    assert url in [json.loads(line)["gateway"] for line in as_json.stdout.splitlines()]


async def test_bodies_are_relayed_unchanged(stage: Stage) -> None:
    """Kept connections, uploads with a length and chunked, large answers, server-sent events as they come."""

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(200):
            yield b"%d\r\n\r\n" % number * 300

    async with stage.client() as client:
        client.headers["Host"] = "web.localhost"
        sent = b"".join([piece async for piece in pieces()])
        assert (await client.post("/echo", content=sent)).content == sent
        assert (await client.post("/echo", content=pieces())).content == sent
        large = await client.get("/bytes?n=3000000")
        assert len(large.content) == 3_000_000
        async with client.stream("GET", "/stream?n=3&ms=1") as events:
            assert [line async for line in events.aiter_lines() if line] == ["data: 0", "data: 1", "data: 2"]
        assert (await client.get("/")).text.startswith("web one\n")


async def test_a_websocket(stage: Stage) -> None:
    """The handshake, and messages both ways."""
    http = WSConnection(ConnectionType.CLIENT)
    async with await stage.connect() as stream:
        await stream.send_all(http.send(Request(host="web.localhost", target="/ws")))
        said: list[str] = []
        with trio.fail_after(PATIENCE):
            while "hello" not in said:
                http.receive_data(bytes(await stream.receive_some()))
                for event in http.events():
                    if isinstance(event, AcceptConnection):
                        await stream.send_all(http.send(TextMessage("hello")))
                    elif isinstance(event, TextMessage):
                        said.append(event.data)


async def test_a_thousand_slow_heads_at_once(stage: Stage) -> None:
    """Whoever sends a whole one is served meanwhile."""
    files.raise_descriptor_limit()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(1000):
            slow = await stack.enter_async_context(await stage.connect())
            await slow.send_all(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(10):
            assert (await stage.get("web.localhost")).text.startswith("web one\n")


async def test_requests_mixed_on_one_connection(stage: Stage) -> None:
    """What is for another Host ends it; the other pod has seen nothing."""
    stage.web.pods[0].requests.clear()
    async with await stage.connect() as stream:
        await stream.send_all(get("two.localhost") + get("web.localhost", "/healthz"))
        with trio.fail_after(PATIENCE):
            answer = await rest(stream)
    assert (answer.count(b"HTTP/1.1 200"), b"two\n" in answer) == (1, True)
    assert not stage.web.pods[0].requests


async def test_a_port_that_is_taken(place: Place) -> None:
    """Ends it with one line that names who has it, before anything is forwarded."""
    async with EmbeddedCluster.open() as cluster:
        await cluster.deployment("web", [Port(8080, web("one"), "http")])
        config = cluster.kubeconfig(place.folder / "embedded")
        with socket.create_server(("127.0.0.1", 0)) as holder:
            words = ("forward", f"--kubeconfig={config}", "deployment/web", ":8080")
            gateway = f"--gateway={holder.getsockname()[1]}"
            ended = await trio.to_thread.run_sync(lambda: place.portside(*words, gateway))
    assert ended.returncode == 2
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert gateway.rpartition("=")[2] in line
    assert "taken" in line
    assert f"(pid {os.getpid()})" in line


@pytest.mark.parametrize("text", ["x", "0", "70000", "127.0.0.1:", ":80:", "a b:80"])
def test_a_gateway_that_cannot_be(place: Place, text: str) -> None:
    """One line that names the option and the value."""
    config = place.write("config", kubeconfig(closed_port()))
    ended = place.portside("forward", "deployment/web", "80", f"--gateway={text}", f"--kubeconfig={config}")
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert "--gateway" in line
    assert text.rpartition(":")[0] in line


async def test_beyond_loopback_it_is_said_once(place: Place) -> None:
    """And portside.yaml asks for it as well; its suffix leads there too."""
    port = closed_port()
    place.write("portside.yaml", f"apiVersion: portside/v1\ngateway: 0.0.0.0:{port}\ngatewaySuffixes: [dev.example]\n")
    async with EmbeddedCluster.open() as cluster:
        await cluster.deployment("web", [Port(8080, web("one"), "http")], labels={"skaffold.dev/run-id": "one"})
        cluster.service(
            "web", {"app": "web"}, [{"port": 80, "targetPort": 8080}], labels={"skaffold.dev/run-id": "one"}
        )
        config = cluster.kubeconfig(place.folder / "embedded")
        words = ("watch", "--cluster", "--run-id=one", "--port-forward=services", f"--kubeconfig={config}")
        async with portside(*words, environment=place.environment, folder=place.folder) as program:
            await program.says("can be reached from other machines")
            await program.ready("web")
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                for host, status in (("web.dev.example", 200), ("nobody.localhost", 404), ("evil.example", 421)):
                    answer = await client.get("/", headers={"Host": host, "Connection": "close"})
                    assert answer.status_code == status
            assert program.stderr.count("can be reached from other machines") == 1
