"""The program with every status reader there may be, none of them reading: its forwards do not notice, and it ends."""

from __future__ import annotations

import fcntl
import os
import select
import signal
from contextlib import AsyncExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.deployment import Deployment
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web
from tests.cli.made import Place
from tests.support.probe import get
from tests.support.process import PORTSIDE, portside

READERS = 64
LARGE = 8 * 1024 * 1024
# Forwards that do nothing but change with the pod: more to tell than the kernel keeps for a reader.
OTHERS = [f":{port}" for port in range(20_000, 20_150)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def status_url(place: Place) -> str:
    return place.portside("status", "--url").stdout.strip()


async def stuck_reader(url: httpx.URL, path: str) -> trio.SocketStream:
    """Asks and reads nothing, with as small a buffer as the system gives."""
    sock = trio.socket.socket()
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 1)
    await sock.connect((url.host, url.port))
    stream = trio.SocketStream(sock)
    await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return stream


async def metric(client: httpx.AsyncClient, name: str) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def readers_are(client: httpx.AsyncClient, count: int) -> None:
    with trio.fail_after(60):
        while await metric(client, "portside_event_readers") != count:
            pass


async def test_forwards_go_on(place: Place) -> None:
    """Small requests and large downloads, each byte right, while pods are replaced and nobody reads what changes."""
    ports = [Port(8080, web("one"), "http")]
    async with EmbeddedCluster.open() as cluster, AsyncExitStack() as readers:
        deployment = await cluster.deployment("web", ports)
        kubeconfig = cluster.kubeconfig(place.folder / "embedded")
        command = ("forward", f"--kubeconfig={kubeconfig}", "deployment/web", ":8080", *OTHERS)
        async with portside(*command, environment=place.environment, folder=place.folder) as program:
            port = (await program.ready("web", remotePort=8080))["localPort"]
            url = httpx.URL(await trio.to_thread.run_sync(status_url, place))
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
                for number in range(READERS):
                    path = "/v1/events?counters" if number % 2 else "/v1/events"
                    await readers.enter_async_context(await stuck_reader(url, path))
                await readers_are(client, READERS)
                assert (await client.get("/v1/events")).status_code == 503
                await carries_on(deployment, ports, port)
                assert await metric(client, "portside_forward_connections_total") >= 2 * 31
                assert await metric(client, "portside_forward_errors_total") == 0
                assert await metric(client, "portside_event_readers") == READERS
            assert await program.end() == 0


async def carries_on(deployment: Deployment, ports: list[Port], port: int) -> None:
    """Two rollouts, after each of which 31 connections are answered, the last one with a large body, byte for byte."""
    for version in range(2):
        await deployment.rollout(ports)
        for _ in range(30):
            assert (await get(port))[0] == 200
        _, headers, body = await get(port, f"/bytes?n={LARGE}")
        assert sha256(body).hexdigest() == headers["x-sha256"], version


async def test_stdout_that_nobody_reads(place: Place) -> None:
    """Its pipe is full and stays so: pods are replaced, each byte is right, and the end comes at once."""
    ports = [Port(8080, web("one"), "http")]
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    async with EmbeddedCluster.open() as cluster, trio.open_nursery() as nursery:
        deployment = await cluster.deployment("web", ports)
        kubeconfig = cluster.kubeconfig(place.folder / "embedded")
        words = ("forward", "--output=json", f"--kubeconfig={kubeconfig}", "deployment/web", ":8080", *OTHERS)
        run = partial(trio.run_process, check=False, stdout=write_end, env=place.environment, cwd=place.folder)
        process = await nursery.start(run, [PORTSIDE, *words])
        await trio.to_thread.run_sync(place.portside, "wait", f"--pid={process.pid}")
        url = await trio.to_thread.run_sync(status_url, place)
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
            forwards = (await client.get("/v1/forwards")).json()
            port = next(one["localPort"] for one in forwards if one["remotePort"] == 8080)
            await carries_on(deployment, ports, port)
        assert not select.select([], [write_end], [], 0)[1], "the pipe is not full"
        process.send_signal(signal.SIGINT)
        with trio.fail_after(60):
            assert await process.wait() == 0
        os.close(read_end)
        os.close(write_end)
