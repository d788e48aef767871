"""Makes the code print the quoted lines about connections that wait, and those of commands."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager

import trio
from msgspec.structs import replace

from fixtures.embedded import EmbeddedCluster
from forwarders.spec import State
from tests.docs.quoted.scene import BARE, HERE, Scene
from tests.forwarders.cluster import SPEC, endpoint, refusing
from tests.forwarders.peer import PeerStream
from tests.forwarders.running import Running
from tests.support.process import portside


@asynccontextmanager
async def forwarding(hold: float, clients: int, app: Callable[[PeerStream], Awaitable[None]]) -> AsyncIterator[Running]:
    """A forward whose only pod runs `app`, with so many clients for three seconds."""
    async with trio.open_nursery() as nursery:
        running = Running(nursery)
        running.pods.apps["a"] = app
        async with trio.open_nursery() as inner:
            await inner.start(running.fleet.run)
            port = await running.start(endpoint("a"), spec=replace(SPEC, hold=hold))
            await running.until(State.READY)
            running.pods.failure = "no further session"
            with ExitStack() as stack:
                for _ in range(clients):
                    stack.enter_context(socket.create_connection((HERE, port))).sendall(b"x")
                await trio.sleep(3)
                yield running
            inner.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


async def silent(stream: PeerStream) -> None:
    await stream.receive_some()


async def nothing_listens(scene: Scene) -> str:
    async with forwarding(60, 2, refusing) as running:
        return running.statuses[-1].reason


async def given_up(scene: Scene) -> str:
    async with forwarding(1, 1, refusing) as running:
        return running.fleet.counters()["one"].last_error


async def sessions_in_use(scene: Scene) -> str:
    async with forwarding(60, 12, silent) as running:
        return running.statuses[-1].reason


async def which_skaffold(scene: Scene) -> str:
    return scene.command("watch")


async def no_kubeconfig(scene: Scene) -> str:
    return scene.command("forward", "svc/web", "80", KUBECONFIG="/nowhere/config")


async def no_portside(scene: Scene) -> str:
    return scene.command("status")


async def not_seen(scene: Scene) -> str:
    async with EmbeddedCluster.open() as cluster:
        kubeconfig = cluster.kubeconfig(scene.folder / "kubeconfig")
        environment = {**BARE, "XDG_RUNTIME_DIR": str(scene.folder), "HOME": str(scene.folder)}
        await cluster.deployment("web", [])
        words = ("forward", f"--kubeconfig={kubeconfig}", "deployment/web", ":80")
        async with portside(*words, environment=environment, folder=scene.folder) as running:
            await running.wait_for(lambda records: any(one["kind"] == "plan" for one in records))
            return await trio.to_thread.run_sync(scene.command, "explain", "svc/nobody")


PRODUCERS = (nothing_listens, given_up, sessions_in_use, which_skaffold, no_kubeconfig, no_portside, not_seen)
