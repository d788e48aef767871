"""Established connections beside a pod that dies, a port that refuses and an application that resets: untouched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from fixtures.cluster.bed import Bed
from tests.support.objects import apply, deployment, rolled_out
from tests.support.probe import get
from tests.support.process import Portside, portside

pytestmark = pytest.mark.cluster

ECHO, RESET, REFUSED = 7001, 7004, 7999


@pytest.fixture(scope="module")
def pods(bed: Bed, space: str) -> str:
    """The namespace of `kept` and `dying`."""
    for name in ("kept", "dying"):
        apply(bed, space, deployment(name, ECHO_PORT=str(ECHO), RESET_PORT=str(RESET)))
    rolled_out(bed, space, "kept", "dying")
    return space


@asynccontextmanager
async def forwarding(bed: Bed, space: str, *ports: str) -> AsyncIterator[Portside]:
    """`kept` and `dying`, each with its echo port and these."""
    words = [word for name in ("kept", "dying") for word in (f"deploy/{name}", f":{ECHO}", *ports)]
    async with portside("forward", "-n", space, "--hold=2", *words, environment=bed.environment()) as running:
        yield running


async def echoed(stream: trio.SocketStream, text: bytes) -> None:
    """Says a text and hears it back."""
    await stream.send_all(text)
    heard = b""
    with trio.fail_after(60):
        while len(heard) < len(text):
            data = await stream.receive_some()
            assert data, "the connection ended"
            heard += data
    assert heard == text


async def port_of(running: Portside, name: str, remote: int) -> int:
    return int((await running.ready(name, remotePort=remote))["localPort"])


async def kubectl(bed: Bed, space: str, *arguments: str) -> None:
    await trio.to_thread.run_sync(partial(bed.kubectl, "-n", space, *arguments, timeout=90))


async def test_another_pods_death(bed: Bed, pods: str) -> None:
    """A pod that is killed takes its own connections and nobody else's; its forward leads to the next pod."""
    async with forwarding(bed, pods, ":8080") as running:
        kept, http = await port_of(running, "kept", ECHO), await port_of(running, "dying", 8080)
        before = await running.ready("dying", remotePort=8080)
        async with await trio.open_tcp_stream("127.0.0.1", kept) as stream:
            await echoed(stream, b"before")
            await kubectl(bed, pods, "delete", "pod", before["pod"], "--grace-period=0", "--force")
            await running.wait_for(lambda _: is_elsewhere(running, before["pod"]))
            assert (await get(http))[0] == 200
            await echoed(stream, b"after")


def is_elsewhere(running: Portside, pod: str) -> bool:
    last = running.last("dying", remotePort=8080) or {}
    return bool(last["state"] == "ready" and last["pod"] != pod)


@pytest.mark.parametrize("neighbour", ["kept", "dying"])
async def test_an_application_that_resets(bed: Bed, pods: str, neighbour: str) -> None:
    """Its reset arrives as a reset, on that connection alone, in the same pod as in another."""
    async with forwarding(bed, pods, f":{RESET}") as running:
        kept, resetting = await port_of(running, "kept", ECHO), await port_of(running, neighbour, RESET)
        async with await trio.open_tcp_stream("127.0.0.1", kept) as stream:
            await echoed(stream, b"before")
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(assert_reset, resetting)
            await echoed(stream, b"after")


@pytest.mark.parametrize("neighbour", ["kept", "dying"])
async def test_a_port_that_refuses(bed: Bed, pods: str, neighbour: str) -> None:
    """Connections to it wait for the hold time and are reset then; beside them all goes on."""
    async with forwarding(bed, pods, f":{REFUSED}", ":8080") as running:
        kept, refused = await port_of(running, "kept", ECHO), await port_of(running, neighbour, REFUSED)
        http = await port_of(running, neighbour, 8080)
        async with await trio.open_tcp_stream("127.0.0.1", kept) as stream:
            await echoed(stream, b"before")
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(assert_reset, refused)
                for _ in range(50):
                    await echoed(stream, b"meanwhile")
                    assert (await get(http))[0] == 200
            assert 1.9 < trio.current_time() - began < 10
            await echoed(stream, b"after")


async def assert_reset(port: int) -> None:
    assert await fate(port) == "ConnectionResetError"


async def fate(port: int) -> str:
    """What becomes of a connection that says one byte."""
    with trio.fail_after(60):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            try:
                await stream.send_all(b"x")
                return f"answered {await stream.receive_some()!r}"
            except trio.BrokenResourceError as error:
                return type(error.__cause__).__name__
