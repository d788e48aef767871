"""Connections that wait, seen from outside: what a person and a script are told, and whose requests are executed."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.deployment import Deployment
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web
from tests.support import pages
from tests.support.process import Portside, portside

NOBODY = 9999
# Connects and resets as fast as it can, from a process of its own.
FLOOD = """
import socket, struct, sys
for _ in range(int(sys.argv[2])):
    sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
"""


@asynccontextmanager
async def forwarding(tmp_path: Path, replicas: int) -> AsyncIterator[tuple[Deployment, Portside]]:
    async with EmbeddedCluster.open() as cluster:
        deployment = await cluster.deployment("web", [Port(8080, web("one"), "http"), Port(NOBODY)], replicas=replicas)
        kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig")
        arguments = ("forward", f"--kubeconfig={kubeconfig}", "--address=127.0.0.1", "deployment/web")
        async with portside(*arguments, ":8080", f":{NOBODY}") as program:
            yield deployment, program


async def local_port(program: Portside, remote: int, state: str) -> int:
    await program.wait_for(lambda _: (program.last("web", remotePort=remote) or {}).get("state") == state)
    record = program.last("web", remotePort=remote)
    assert record is not None
    port: int = record["localPort"]
    return port


def post(port: int, path: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n".encode())
    return sock


async def test_requests_of_clients_that_gave_up_are_not_executed(tmp_path: Path) -> None:
    """Five clients give up while there is no pod, the sixth stays: the pod that comes hears of that one alone."""
    async with forwarding(tmp_path, 0) as (deployment, program):
        port = await local_port(program, 8080, "listening")
        for number in range(5):
            client = post(port, f"/echo?gone={number}")
            await trio.sleep(0.05)
            client.close()
        with contextlib.closing(post(port, "/echo")) as patient:
            await program.wait_for(
                lambda _: "; 1 connection waits" in (program.last("web", remotePort=8080) or {})["reason"]
            )
            await deployment.scale(1)
            await local_port(program, 8080, "ready")
            await trio.lowlevel.wait_readable(patient)
            assert patient.recv(12) == b"HTTP/1.1 200"
        assert deployment.pods[0].connections[8080] == 1


async def test_what_the_runtime_said_is_told_everywhere(tmp_path: Path) -> None:
    """The reason in JSON lines and on stderr while the client still waits; then without a number."""
    async with forwarding(tmp_path, 1) as (deployment, program):
        port = await local_port(program, NOBODY, "ready")
        said = f"nothing listens on {NOBODY} in pod {deployment.pods[0].name}: connection refused"

        def last_reason(wanted: str) -> bool:
            record = program.last("web", remotePort=NOBODY) or {}
            return (record["state"], record["reason"]) == ("ready", wanted)

        with trio.fail_after(60), contextlib.closing(post(port, "/")):
            await program.wait_for(lambda _: last_reason(f"{said}; 1 connection waits"))
            await program.says(f"{said}; 1 connection waits")
        await program.wait_for(lambda _: last_reason(said))
        assert program.stderr.count(said) == 1


@pytest.mark.parametrize("count", [1000])
async def test_a_flood_of_resets_costs_the_honest_nothing(count: int, tmp_path: Path) -> None:
    """The pod is dialled for the few that were still there when they were accepted, and for the honest client."""
    async with forwarding(tmp_path, 1) as (deployment, program):
        port = await local_port(program, 8080, "ready")
        await trio.run_process([sys.executable, "-c", FLOOD, str(port), str(count)])
        assert await pages.page(port, 60) == "one"
        assert deployment.pods[0].connections[8080] < count / 4
