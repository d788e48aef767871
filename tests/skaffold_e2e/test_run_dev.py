"""`portside run -- skaffold dev`: from a save to new bytes at the same port, without one failed connection."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest
import trio

from tests.support.probe import get, probing
from tests.support.process import Portside, Record, gone, in_session, portside
from tests.support.skaffold import Project
from tests.support.sockets import is_free

pytestmark = pytest.mark.skaffold

DEV = ("run", "-vv", "--", "skaffold", "dev", "--port-forward=user,services")
# Five redeploys are the bar; one is what every change has time for.
RUNS = pytest.mark.parametrize("run", [1, *(pytest.param(n, marks=pytest.mark.long) for n in (2, 3, 4, 5))])


@asynccontextmanager
async def developing(project: Project, terminal: int | None = None) -> AsyncIterator[Portside]:
    arguments = (*DEV, "-n", project.namespace)
    async with portside(
        *arguments, environment=project.environment, folder=project.folder, session=True, terminal=terminal
    ) as running:
        yield running


async def all_ready(running: Portside) -> dict[str, Record]:
    return {name: await running.ready(name, 90) for name in ("app", "web", "api")}


async def text_at(record: Record) -> str:
    _, _, body = await get(record["localPort"], "/")
    return body.decode()


async def idle(running: Portside, iteration: int) -> None:
    """Skaffold's loop of this number has ended."""
    wanted = {"kind": "skaffold", "phase": "idle", "iteration": iteration, "failed": False}
    await running.wait_for(lambda records: any(wanted.items() <= record.items() for record in records))


async def watching(running: Portside) -> None:
    """Skaffold's first loop has ended and it looks at the files: one saved a moment earlier is not noticed."""
    await running.says("Watching for changes...")


def skaffold_pid(running: Portside) -> int:
    children = psutil.Process(running.process.pid).children()
    return next(child.pid for child in children if child.name() == "skaffold")


async def test_each_forward_leads_to_the_deployed_app(project: Project) -> None:
    """A user entry by port name and two services are ready and answer; a save brings new bytes at the same ports."""
    async with developing(project) as running:
        before = await all_ready(running)
        assert {name: (r["source"], r["remotePort"], r["namespace"]) for name, r in before.items()} == {
            "app": ("user", "http", project.namespace),
            "web": ("services", 8080, project.namespace),
            "api": ("services", 80, project.namespace),
        }
        assert before["app"]["resourceType"] == "deployment"
        assert before["app"]["requestedPort"] == 9001
        assert before["app"]["url"] == f"http://127.0.0.1:{before['app']['localPort']}"
        assert before["app"]["podPort"] == 8080
        for record in before.values():
            assert await text_at(record) == f"hello from {project.namespace}, version 1\npod {record['pod']}\n"
        await watching(running)

        project.save(f"hello from {project.namespace}, version 2")
        await idle(running, 2)
        after = await all_ready(running)
        assert {r["localPort"] for r in after.values()} == {r["localPort"] for r in before.values()}
        for record in after.values():
            assert (await text_at(record)).startswith(f"hello from {project.namespace}, version 2\n")


@RUNS
async def test_no_connection_fails_during_a_redeploy(project: Project, run: int) -> None:
    """A connection every 20 ms while Skaffold builds and deploys anew: each is answered in full."""
    async with developing(project) as running:
        ports = {name: record["localPort"] for name, record in (await all_ready(running)).items()}
        await watching(running)
        async with probing(ports["app"]) as by_entry, probing(ports["web"]) as by_service:
            await by_entry.good(25)
            project.save(f"version 2 of run {run}")
            await idle(running, 2)
            await by_entry.good(25)
            await by_service.good(25)
        assert not by_entry.failures, (by_entry.counts, running.stderr)
        assert not by_service.failures, (by_service.counts, running.stderr)


async def test_stdout_holds_json_lines_and_nothing_else(project: Project) -> None:
    """Each line on stdout is one of our objects; what Skaffold prints is on stderr, nothing of it is lost."""
    async with developing(project) as running:
        await all_ready(running)
        await running.says("Watching for changes...")
        assert running.others == []
        assert "Deployments stabilized" in running.stderr
        assert {record["kind"] for record in running.records} == {"forward", "skaffold"}


async def test_ctrl_c_on_a_terminal(project: Project) -> None:
    """The ports are free at once; Skaffold cleans up and portside ends with it, with its code, leaving nothing."""
    ours, theirs = os.openpty()
    try:
        async with developing(project, terminal=theirs) as running:
            await idle_with_forwards(running)
            os.write(ours, b"\x03")
            await assert_ends(running, 0)
    finally:
        os.close(ours)
        os.close(theirs)


async def test_sigint_to_the_process_group(project: Project) -> None:
    """The same as a shell's Ctrl-C, with no terminal there."""
    async with developing(project) as running:
        await idle_with_forwards(running)
        running.interrupt()
        await assert_ends(running, 0)


async def idle_with_forwards(running: Portside) -> None:
    await all_ready(running)
    await watching(running)


async def assert_ends(running: Portside, code: int) -> None:
    """To be called right after the signal: the ports are free within 0.5 s, the end is within 0.5 s of Skaffold's."""
    signalled, skaffold = trio.current_time(), skaffold_pid(running)
    ports = [record["localPort"] for record in running.forwards]
    await running.stopped()
    assert trio.current_time() - signalled < 0.5
    assert len(ports) == 3
    assert all(is_free(port) for port in ports)
    ended = await gone(skaffold)
    assert await running.wait(10) == code
    assert trio.current_time() - ended < 0.5
    assert "Traceback" not in running.stderr
    assert not in_session(running.process.pid)
