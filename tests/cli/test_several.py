"""Several portsides at once: each command shows this folder's first, and names the one it shows."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from tests.cli.made import NAMESPACE, Place
from tests.cli.test_wait import waiting
from tests.support.process import PORTSIDE, portside


class Project:
    """One of several folders whose commands share a runtime directory."""

    def __init__(self, place: Place, name: str) -> None:
        self.folder = place.folder / name
        self.folder.mkdir(parents=True)
        self._place = place

    def portside(self, *words: str):  # type: ignore[no-untyped-def] # an async context manager
        return portside("forward", *words, environment=self._place.environment, folder=self.folder)

    async def runs(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs `portside WORDS` to its end."""
        return await trio.to_thread.run_sync(
            lambda: subprocess.run(
                [PORTSIDE, *words],
                cwd=self.folder,
                env=self._place.environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        )


@contextmanager
def taken() -> Iterator[int]:
    """A local port that another socket holds."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield holder.getsockname()[1]


async def test_this_folders_comes_first(cluster: EmbeddedCluster, place: Place) -> None:
    """status and explain group by portside, with process, folder, context and page; --pid and --folder select."""
    ours, theirs = Project(place, "a/ours"), Project(place, "a/theirs")
    async with ours.portside("svc/web", ":8080") as one, theirs.portside("deploy/web", ":8080") as other:
        await one.ready("web")
        await other.ready("web")
        headings = [
            f"portside forward (pid {program.process.pid}, {project.folder}): {program.first_line.partition(': ')[2]}"
            for program, project in ((one, ours), (other, theirs))
        ]
        assert f"context embedded, namespace {NAMESPACE}, page http://127.0.0.1:" in headings[0]
        lines = (await ours.runs("status")).stdout.splitlines()
        assert [lines[0], lines[2]] == headings
        assert (await theirs.runs("status")).stdout.splitlines()[0] == headings[1]
        explained = (await ours.runs("explain")).stdout.splitlines()
        assert [explained.index(heading) for heading in headings] == sorted(map(explained.index, headings))
        assert "yes service/web" in " ".join(explained[1].split())
        for words in (("--pid", str(other.process.pid)), ("--folder", str(theirs.folder)), ("--folder", "../theirs")):
            assert (await ours.runs("status", *words)).stdout.splitlines()[0] == headings[1]
            [record] = map(json.loads, (await ours.runs("status", "--output=json", *words)).stdout.splitlines())
            assert (record["pid"], record["folder"]) == (other.process.pid, str(theirs.folder))
            assert "deployment/web" in (await ours.runs("explain", *words)).stdout
        assert (await ours.runs("status", "--url")).stdout.strip() in headings[0]
        (ours.folder / "tests").mkdir()
        inside = Project(place, "a/ours/tests/e2e")
        assert (await inside.runs("status", "--url")).stdout.strip() in headings[0]


async def test_wait_is_about_this_folders(cluster: EmbeddedCluster, place: Place) -> None:
    """`wait` ignores the forwards of other folders, and waits for a portside to start in this one."""
    ours, theirs = Project(place, "a/ours"), Project(place, "a/theirs")
    with taken() as port:
        async with theirs.portside("svc/web", f"{port}:8080", "deploy/web", ":8080") as other:
            await other.ready("web", resourceType="deployment")
            assert (await theirs.runs("wait")).returncode == 1
            for words in ((), ("deploy/web",)):
                done = await ours.runs("wait", "--timeout=0.5", *words)
                assert done.returncode == 1
                assert f"no portside runs here; one runs in {theirs.folder} (pid {other.process.pid})" in done.stderr
            async with ours.portside("svc/web", ":8080"):
                assert (await ours.runs("wait")).returncode == 0
                assert (await ours.runs("wait", "svc/web")).returncode == 0
                assert (await ours.runs("wait", "--pid", str(other.process.pid))).returncode == 1
                assert (await ours.runs("wait", "--folder", str(theirs.folder), "deploy/web")).returncode == 0


@pytest.mark.parametrize("command", ["wait", "status", "explain"])
def test_no_such_process(place: Place, command: str) -> None:
    """A --pid that does not run is reported at once, whatever the timeout."""
    done = place.portside(command, "--pid", "999999999")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "portside: no process 999999999 runs\n"


async def test_a_process_that_ends_without_having_been_a_portside(place: Place) -> None:
    """`wait --pid` ends when the process ends before it became a portside, for example after a wrong option."""
    process = await trio.lowlevel.open_process(["sleep", "60"])
    try:
        async with waiting(place, "--pid", str(process.pid)) as waiter:
            await waiter.says(f"waiting: process {process.pid} is not a portside")
            process.kill()
            assert await waiter.ends() == 1
            assert waiter.stderr.splitlines()[-1] == f"portside: no process {process.pid} runs"
    finally:
        await process.wait()


@pytest.mark.parametrize("output", ["plain", "json"])
async def test_the_first_line(cluster: EmbeddedCluster, place: Place, output: str) -> None:
    """The first line names context, namespace and page; with JSON output it is on stderr."""
    words = ("forward", "svc/web", ":8080")
    async with portside(*words, environment=place.environment, folder=place.folder, output=output) as program:
        await program.wait_for(lambda _: bool(program.records or program.others) and bool(program.first_line))
        start = f"portside forward: context embedded, namespace {NAMESPACE}, page http://127.0.0.1:"
        assert program.first_line.startswith(start)
        assert (
            program.first_line.rpartition(" ")[2] == (await Project(place, "a").runs("status", "--url")).stdout.strip()
        )
        assert all("context" not in line for line in program.others)
    async with portside(*words, "--status=off", environment=place.environment, output=output) as program:
        await program.wait_for(lambda _: bool(program.first_line))
        assert program.first_line.endswith("no page (--status off)")
