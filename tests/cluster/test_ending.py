"""Ctrl-C at any moment of `portside forward`: gone within a second, exit 0, no traceback, no port left."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
import trio
import yaml

from fixtures.cluster.bed import Bed
from tests.support.objects import apply, deployment, rolled_out
from tests.support.process import Portside, portside, slowness
from tests.support.sockets import free_port, is_free

pytestmark = pytest.mark.cluster

CONNECTIONS = 50
WITHIN = 1.0


@pytest.fixture(scope="module")
def web(bed: Bed, space: str) -> str:
    """The namespace of `web`, which serves, and `none`, which has no pod."""
    apply(bed, space, deployment("web"), deployment("none", replicas=0))
    rolled_out(bed, space, "web")
    return space


def forwarding(bed: Bed, space: str, name: str = "web"):  # type: ignore[no-untyped-def] # an async context manager
    return portside("forward", "-n", space, f"deploy/{name}", ":8080", environment=bed.environment())


async def assert_ends(running: Portside, number: int = signal.SIGINT) -> None:
    ports = [record["localPort"] for record in running.forwards if record["localPort"]]
    slow = await slowness()
    began = trio.current_time()
    running.process.send_signal(number)
    with trio.fail_after(60):
        assert await running.process.wait() == 0
    assert trio.current_time() - began < WITHIN * max(slow, await slowness())
    await running.wait()
    assert "Traceback" not in running.stderr
    assert all(is_free(port) for port in ports)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_while_it_serves(bed: Bed, web: str, number: int) -> None:
    """Each of the three signals ends it well."""
    async with forwarding(bed, web) as running:
        await running.ready("web")
        await assert_ends(running, number)
        assert (running.last("web") or {})["state"] == "stopped"


async def test_while_sessions_open(bed: Bed, web: str) -> None:
    """The port is bound, nothing leads anywhere yet."""
    async with forwarding(bed, web) as running:
        await running.wait_for(bool)
        await assert_ends(running)


async def test_with_open_connections(bed: Bed, web: str) -> None:
    """50 requests that are never answered are cut."""
    async with forwarding(bed, web) as running:
        port = (await running.ready("web"))["localPort"]
        async with trio.open_nursery() as nursery:
            asked = [await nursery.start(hold_one, port) for _ in range(CONNECTIONS)]
            assert len(asked) == CONNECTIONS
            await assert_ends(running)


async def test_with_connections_that_wait(bed: Bed, web: str) -> None:
    """50 connections for which there is no pod are cut as well."""
    async with forwarding(bed, web, "none") as running:
        await running.wait_for(lambda _: (running.last("none") or {}).get("state") == "listening")
        port = (running.last("none") or {})["localPort"]
        async with trio.open_nursery() as nursery:
            for _ in range(CONNECTIONS):
                await nursery.start(hold_one, port)
            await assert_ends(running)


async def hold_one(port: int, *, task_status: trio.TaskStatus[None]) -> None:
    """A request that nobody answers, until it is cut."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /hold HTTP/1.1\r\nHost: test\r\n\r\n")
        task_status.started()
        try:
            assert await stream.receive_some() == b""
        except trio.BrokenResourceError as error:
            assert isinstance(error.__cause__, ConnectionResetError)  # noqa: PT017 - an end is as good as a reset


async def test_while_the_apiserver_does_not_answer(bed: Bed, tmp_path: Path) -> None:
    """It takes the connection and says nothing, as behind a firewall."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        kubeconfig = pointed_to(bed, tmp_path, silent.getsockname()[1])
        async with portside("forward", "svc/web", ":80", environment=bed.environment() | kubeconfig) as running:
            await trio.lowlevel.wait_readable(silent)
            await assert_ends(running)


async def test_while_the_apiserver_is_away(bed: Bed, tmp_path: Path) -> None:
    """Nothing listens there: it says that it waits, with the port bound."""
    kubeconfig = pointed_to(bed, tmp_path, free_port())
    async with portside("forward", "svc/web", ":80", environment=bed.environment() | kubeconfig) as running:
        await running.wait_for(lambda _: "refused" in (running.last("web") or {}).get("reason", ""))
        assert (running.last("web") or {})["state"] == "listening"
        await assert_ends(running)


def pointed_to(bed: Bed, folder: Path, port: int) -> dict[str, str]:
    """A kubeconfig like the bed's for an API server at `port`."""
    config = yaml.safe_load(bed.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    return {"KUBECONFIG": str(path)}


async def test_while_credentials_are_asked_for(bed: Bed, tmp_path: Path) -> None:
    """A login helper that hangs is no reason to stay; nothing stands yet, so the signal itself may be the end."""
    called = tmp_path / "called"
    os.mkfifo(called)
    config = yaml.safe_load(bed.kubeconfig.read_text())
    helper = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "/bin/sh",
        "args": ["-c", f"echo called > {called}; exec sleep 60"],
        "interactiveMode": "Never",
    }
    config["users"][0]["user"] = {"exec": helper}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    environment = bed.environment() | {"KUBECONFIG": str(path)}
    async with portside("forward", "svc/web", ":80", environment=environment, session=True) as running:
        with trio.fail_after(60):
            assert await trio.Path(called).read_text() == "called\n"
        began = trio.current_time()
        running.interrupt()
        with trio.fail_after(60):
            assert await running.process.wait() in {0, -signal.SIGINT}
        assert trio.current_time() - began < WITHIN
        assert "Traceback" not in running.stderr
