"""Runs `portside run -- skaffold dev` in a project, waits for its states, and checks its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import trio
import trio.testing

from tests.support.probe import get
from tests.support.process import Portside, Record, gone, in_session, portside, slowness
from tests.support.skaffold import Project
from tests.support.sockets import is_free

# Time limits of the end in seconds: ports are free; portside has ended after Skaffold.
AT_ONCE = 0.5


@asynccontextmanager
async def developing(
    project: Project, terminal: int | None = None, rpc_http_port: int = 0, words: tuple[str, ...] | None = None
) -> AsyncIterator[Portside]:
    """`skaffold dev` under portside, in its own session. `words` replace the usual namespace and modes."""
    api = (f"--rpc-http-port={rpc_http_port}",) if rpc_http_port else ()
    asked = ("--port-forward=user,services", "-n", project.namespace) if words is None else words
    async with portside(
        *("run", "-v", "--", "skaffold", "dev", *asked, *api),
        environment=project.environment,
        folder=project.folder,
        session=True,
        terminal=terminal,
    ) as running:
        yield running


async def all_ready(running: Portside) -> dict[str, Record]:
    """The three forwards of the hello project by resource name, when all are ready."""
    return {name: await running.ready(name, 90) for name in ("app", "web", "api")}


async def text_at(record: Record) -> str:
    _, _, body = await get(record["localPort"], "/")
    return body.decode()


async def becomes(record: Record, text: str) -> None:
    """Returns when the forward is answered with this text at the beginning; it is always answered.

    A watch may tell of the new pod later than Skaffold does of the deploy.
    """
    with trio.fail_after(60):
        while not (await text_at(record)).startswith(text):  # noqa: ASYNC110 - the pod tells nobody
            await trio.sleep(0.1)


async def idle(running: Portside, iteration: int) -> None:
    """Returns when Skaffold's dev loop of this number has ended well."""
    wanted = {"kind": "skaffold", "phase": "idle", "iteration": iteration, "failed": False}
    await running.wait_for(lambda records: any(wanted.items() <= record.items() for record in records))


async def watching(running: Portside) -> None:
    """Returns when Skaffold watches the files; it does not notice an earlier save."""
    await running.says("Watching for changes...")


async def forwarding(running: Portside) -> None:
    """Returns when everything is up and quiet."""
    await all_ready(running)
    await watching(running)


def skaffold_pid(running: Portside) -> int:
    children = psutil.Process(running.process.pid).children()
    return next(child.pid for child in children if child.name() == "skaffold")


@asynccontextmanager
async def ending(running: Portside, code: int, *, orphans: bool = False) -> AsyncIterator[None]:
    """The block ends portside: its ports are free at once, it ends right after Skaffold, and nothing is left.

    `orphans`: a Skaffold that could not clean up leaves its `kubectl logs`, which portside does not end.
    """
    ports = [record["localPort"] for record in running.forwards]
    assert len(ports) == 3
    ended = trio.Event()
    ended_at = 0.0
    async with trio.open_nursery() as nursery:

        async def watch_skaffold(pid: int) -> None:
            nonlocal ended_at
            ended_at = await gone(pid)
            ended.set()

        nursery.start_soon(watch_skaffold, skaffold_pid(running))
        await trio.testing.wait_all_tasks_blocked()
        slow = await slowness()
        yield
        began = trio.current_time()
        await running.stopped()
        took = trio.current_time() - began
        assert all(is_free(port) for port in ports)
        with trio.fail_after(60):
            assert await running.process.wait() == code
            await ended.wait()
        took = max(took, trio.current_time() - ended_at)
        assert took < AT_ONCE * max(slow, await slowness())
    await running.wait()
    assert "Traceback" not in running.stderr
    left = {process.name() for process in in_session(running.process.pid)}
    assert left <= ({"kubectl"} if orphans else set())
