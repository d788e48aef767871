"""`portside wait` in scripts: started before or after portside, with the exit code for each outcome."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.skaffold_api import Recording, SkaffoldApi
from tests.cli.made import NAMESPACE, Place, problems_in
from tests.support.process import PORTSIDE, portside
from watcher.board.runtime_files import Instance


class Waiter:
    """A `portside wait` that runs."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.stderr = ""

    @property
    def problems(self) -> list[str]:
        """The lines on stderr without those about what takes longer than a second."""
        return problems_in(self.stderr)

    async def says(self, text: str) -> None:
        """Returns when stderr has the text."""
        assert self.process.stderr is not None
        with trio.fail_after(60):
            while text not in self.stderr:
                data = await self.process.stderr.receive_some()
                assert data, self.stderr
                self.stderr += data.decode()

    async def ends(self) -> int:
        with trio.fail_after(60):
            assert self.process.stderr is not None
            async for data in self.process.stderr:
                self.stderr += data.decode()
            return await self.process.wait()


@asynccontextmanager
async def waiting(place: Place, *words: str) -> AsyncIterator[Waiter]:
    process = await trio.lowlevel.open_process(
        [PORTSIDE, "wait", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=place.environment,
        cwd=place.folder,
    )
    try:
        yield Waiter(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def forwarding(place: Place, *words: str):  # type: ignore[no-untyped-def] # an async context manager
    return portside("forward", *words, environment=place.environment, folder=place.folder)


async def test_it_starts_first(cluster: EmbeddedCluster, place: Place) -> None:
    """Started first, it reports that it waits, and returns when the named forwards are ready."""
    async with waiting(place, "svc/web", "deploy/web:8080") as waiter:
        await waiter.says("waiting: no portside runs here")
        async with forwarding(place, "svc/web", ":8080", "deploy/web", ":8080") as program:
            assert await waiter.ends() == 0, waiter.stderr
            assert {record["state"] for record in program.forwards} == {"ready"}


async def test_it_starts_last(cluster: EmbeddedCluster, place: Place) -> None:
    """If all is ready it returns silently, also if the names belong to several portsides."""
    async with forwarding(place, "svc/web", ":8080") as one, forwarding(place, "deploy/web", ":8080") as other:
        await one.ready("web")
        await other.ready("web")
        for words in ((), ("svc/web", "deploy/web"), (f"--pid={one.process.pid}",), (f"--folder={place.folder}",)):
            async with waiting(place, *words) as waiter:
                assert (await waiter.ends(), waiter.problems) == (0, [])
        async with waiting(place, "deploy/web", f"--pid={one.process.pid}", "--timeout=0.01") as waiter:
            assert await waiter.ends() == 1
        async with waiting(place, "deploy/api") as waiter:
            await waiter.says("portside: waiting: deploy/api is not forwarded\n")
        async with waiting(place, "deploy/api", "--timeout=1.5") as waiter:
            assert await waiter.ends() == 1
            assert waiter.problems[0] == "portside: not ready within 1.5 s"
            about = [line.removeprefix("portside: ").removeprefix("waiting: ") for line in waiter.stderr.splitlines()]
            assert len(about) == len(set(about))  # what was reported while it waited is not repeated


async def test_beside_skaffold_a_deploy_is_waited_for(cluster: EmbeddedCluster, place: Place) -> None:
    """Beside Skaffold it waits for a deploy, like /readyz, not for objects of an earlier one."""
    before, after = Recording.load("handle-post").split("DevLoop", "InProgress")
    async with SkaffoldApi.open(before) as skaffold:
        command = ("watch", "--skaffold", skaffold.url, "--port-forward=services")
        watching = portside(*command, environment=place.environment, folder=place.folder)
        async with watching, waiting(place) as waiter:
            await waiter.says("waiting: the first deploy or the first lists are not complete")
            skaffold.play(after)
            assert await waiter.ends() == 0, waiter.stderr


async def test_a_failed_forward_ends_it(cluster: EmbeddedCluster, place: Place) -> None:
    """A failed forward ends the wait with its reason; other forwards can still be waited for by name."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        async with forwarding(place, "deploy/web", f"{port}:8080", "svc/web", ":8080"):
            async with waiting(place) as waiter:
                assert await waiter.ends() == 1
                assert f"portside: failed deployment/web port 8080 in namespace {NAMESPACE}: " in waiter.stderr
                assert str(port) in waiter.stderr
            async with waiting(place, "svc/web") as waiter:
                assert await waiter.ends() == 0


async def test_the_end_of_portside_ends_it(cluster: EmbeddedCluster, place: Place) -> None:
    """It ends when the portside ends."""
    cluster.service("api", {"app": "nothing"}, [{"port": 80}], namespace=NAMESPACE)
    async with forwarding(place, "svc/api", ":80") as program, waiting(place) as waiter:
        await waiter.says("waiting: listening service/api port 80")
        assert await program.end(signal.SIGTERM) == 0
        assert await waiter.ends() == 1
        assert f"portside forward (pid {program.process.pid}, {place.folder}) has ended" in waiter.stderr


def test_no_portside(place: Place) -> None:
    """Without a portside the exit code is 1 after the timeout, with the reason."""
    done = place.portside("wait", "--timeout", "0.1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "portside: not ready within 0.1 s\nportside: no portside runs here\n"


def test_a_file_that_a_killed_portside_left(place: Place) -> None:
    """A file of a killed portside, whose pid another program has, does not end the wait for the next one."""
    folder = place.folder / "run" / "portside"
    folder.mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stale = Instance(pid=os.getpid(), url=f"http://127.0.0.1:{port}", command="watch", folder=str(place.folder))
    (folder / "1.json").write_bytes(msgspec.json.encode(stale))
    done = place.portside("wait", "--timeout", "2")
    assert done.returncode == 1
    assert f"portside watch (pid {os.getpid()}, {place.folder}) does not answer" in done.stderr


@pytest.mark.parametrize("words", [("widget/x",), ("--timeout", "0"), ("--timeout", "soon"), ("--folder", "missing")])
def test_mistakes(place: Place, words: tuple[str, ...]) -> None:
    """A mistake is one line with exit code 2."""
    done = place.portside("wait", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
