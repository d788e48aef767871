"""--direct with the program itself: a pod's own address is loopback, and behind it another server than in the pod."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.pod import Pod
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web
from tests.support import pages
from tests.support.process import Portside, portside

PATIENCE = 60.0
# An address of loopback that no other test uses.
ADDRESS = "127.0.0.77"
THROUGH, THERE = "through the API server", "at the address"


class Address:
    """A server at the address; `connections` that reached it."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(0, host=ADDRESS)
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._answer, listeners)

    async def _answer(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        await stream.receive_some()
        await stream.send_all(f"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{THERE}\npod x".encode())
        await stream.receive_some()


def give(pod: Pod, address: str) -> None:
    """What the kubelet writes into the pod's status."""
    status = pod.manifest["status"] | {"podIP": address, "podIPs": [{"ip": address}]}
    pod._update(status=status)


@asynccontextmanager
async def forwarding(
    tmp_path: Path, address: Address, direct: str
) -> AsyncIterator[tuple[EmbeddedCluster, Pod, Portside]]:
    async with EmbeddedCluster.open() as cluster, trio.open_nursery() as nursery:
        await nursery.start(address.run)
        pod = await cluster.pod("web", [Port(address.port, web(THROUGH))])
        give(pod, ADDRESS)
        kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig")
        words = ("forward", f"--kubeconfig={kubeconfig}", f"--direct={direct}", "--address=127.0.0.1", "pod/web")
        async with portside(*words, f":{address.port}") as program:
            yield cluster, pod, program
        nursery.cancel_scope.cancel()


async def local_port(program: Portside) -> int:
    port: int = (await program.ready("web", PATIENCE))["localPort"]
    return port


async def confirmed(program: Portside, port: int, content: str) -> None:
    """Where the API server needs long to tell whose the address is, the first connections go through sessions."""
    with trio.fail_after(PATIENCE):
        while await pages.page(port, PATIENCE) != content:
            await program.wait_for(lambda _: True)


@pytest.mark.parametrize(("direct", "content"), [("always", THERE), ("auto", THROUGH), ("never", THROUGH)])
async def test_the_way_of_a_connection(tmp_path: Path, direct: str, content: str) -> None:
    """`always` is the user's word; this machine is no node of the cluster, so `auto` goes through the API server."""
    async with forwarding(tmp_path, Address(), direct) as (_, _, program):
        port = await local_port(program)
        assert await pages.page(port, PATIENCE) in {content, THROUGH}
        await confirmed(program, port, content)
        way = "pod" if content == THERE else "apiserver"
        await program.wait_for(lambda _: (program.last("web") or {}).get("via") == way)


async def test_an_address_that_is_another_pods_now(tmp_path: Path) -> None:
    """The pod is being deleted, and its address answers as before: whoever has it now gets no connection."""
    address = Address()
    async with forwarding(tmp_path, address, "always") as (cluster, pod, program):
        port = await local_port(program)
        await confirmed(program, port, THERE)
        reached = address.connections
        pod.begin_deletion()
        await program.wait_for(lambda _: (program.last("web") or {}).get("state") == "listening")
        waiting = socket.create_connection(("127.0.0.1", port))
        with waiting:
            waiting.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            await pod.delete()
            await cluster.pod("web", [Port(address.port, web(THROUGH))])
            await program.ready("web", PATIENCE)
            assert await pages.page(port, PATIENCE) == THROUGH
        assert address.connections == reached
