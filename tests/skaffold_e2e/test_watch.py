"""`portside watch` beside a real Skaffold: started before or after it, outliving it, and never stopping it."""

from __future__ import annotations

import signal
from random import Random

import pytest
import trio

from fixtures.cluster.versions import SKAFFOLDS
from tests.skaffold_e2e.beside import LINE, Redeploying, reading
from tests.skaffold_e2e.developing import all_ready, text_at
from tests.support.process import Portside, portside
from tests.support.skaffold import Project, skaffold
from tests.support.sockets import free_port, is_free

pytestmark = pytest.mark.skaffold

# Seconds in which `watch` must leave the stream properly.
GONE_WITHIN = 3.0
# The same after a long replay, on a busy machine.
PATIENCE = 60.0
# The least number of log lines in a replay, each an event: several times what gRPC's quota and window hold.
LONG_REPLAY = 1500


def watching(project: Project, port: int):  # type: ignore[no-untyped-def] # an async context manager of Portside
    words = ("watch", "-v", "--skaffold", f"http://127.0.0.1:{port}", "-n", project.namespace)
    return portside(*words, environment=project.environment, folder=project.folder)


def dev(project: Project, port: int):  # type: ignore[no-untyped-def] # an async context manager of Skaffold
    return skaffold(project, "dev", "--port-forward=off", f"--rpc-http-port={port}")


async def attached(running: Portside, *, yes: bool = True) -> None:
    """Returns when the last record says that Skaffold's events are read, or are not."""

    def is_so(records: list[dict[str, object]]) -> bool:
        said = [record["attached"] for record in records if record["kind"] == "skaffold"]
        return bool(said) and said[-1] is yes

    await running.wait_for(is_so)


async def end(running: Portside) -> None:
    """It ends with code 0 and in time."""
    began = trio.current_time()
    await left(running)
    assert trio.current_time() - began < GONE_WITHIN


async def left(running: Portside) -> None:
    """It ends with code 0; if it had printed nothing yet, the signal may have ended it during Python's start."""
    ports = [record["localPort"] for record in running.forwards]
    code = await running.end(timeout=PATIENCE)
    starting = code == -signal.SIGINT or running.stderr.rstrip().endswith("KeyboardInterrupt")
    assert code == 0 or (starting and not running.records), (code, running.stderr)
    assert all(is_free(port) for port in ports)
    assert code or "Traceback" not in running.stderr


async def first_record(project: Project, port: int) -> float:
    """Seconds from the start of a portside until its first record, which comes after the replay."""
    began = trio.current_time()
    async with watching(project, port) as running:
        await running.wait_for(bool)
        took = trio.current_time() - began
        await left(running)
    return took


async def test_started_before_skaffold(project: Project) -> None:
    """It waits and reports that. Then it forwards, outlives this Skaffold and follows the next one on the same port."""
    port = free_port()
    async with watching(project, port) as running:
        await running.says(f"no Skaffold answers at http://127.0.0.1:{port}; waiting for one")
        async with dev(project, port) as first:
            before = await all_ready(running)
            assert (await text_at(before["web"])).startswith(f"hello from {project.namespace}, version 1")
            await first.idle()
        await attached(running, yes=False)
        project.save(f"hello from {project.namespace}, version 2")
        async with dev(project, port):
            await attached(running)
            await running.wait_for(lambda _: _moved(running, before["web"]["pod"]))
            after = await all_ready(running)
            assert (await text_at(after["web"])).startswith(f"hello from {project.namespace}, version 2")
            assert after["app"]["localPort"] == before["app"]["localPort"]
            await end(running)
    assert running.others == []


def _moved(running: Portside, pod: str) -> bool:
    last = running.last("web") or {}
    return bool(last.get("state") == "ready" and last.get("pod") != pod)


async def test_forwards_stay_without_skaffold(project: Project) -> None:
    """Started after Skaffold it finds everything at once. When Skaffold is killed, the forwards stay."""
    port = free_port()
    async with dev(project, port) as running_skaffold:
        await running_skaffold.idle()
        async with watching(project, port) as running:
            records = await all_ready(running)
            running_skaffold.process.kill()
            await attached(running, yes=False)
            for record in records.values():
                assert (await text_at(record)).startswith(f"hello from {project.namespace}, version 1")
            assert len(running.forwards) == 3
            await end(running)


def make_it_chatty(project: Project) -> None:
    """Its pod logs more than 100 lines a second, each an event, so Skaffold's stream is never silent for long."""
    shell = f"(while :; do for i in $(seq 15); do echo {LINE}; done; sleep 0.1; done) & exec /app"
    project.edit("skaffold.yaml", " app content.txt", " java content.txt")  # an image with a shell
    project.edit("k8s.yaml", "image: hello\n", f"image: hello\n          command: [/bin/sh, -c, '{shell}']\n")


@pytest.mark.parametrize(
    "version", [SKAFFOLDS[0], *(pytest.param(one, marks=pytest.mark.long) for one in SKAFFOLDS[1:])]
)
@pytest.mark.parametrize("cycles", [20, pytest.param(200, marks=pytest.mark.long)])
async def test_skaffold_outlives_every_leave(project: Project, version: str, cycles: int) -> None:
    """However often and whenever portside attaches and leaves, Skaffold continues to build and deploy.

    Its stream is never silent, since the pod logs all the time. SIGINT arrives while portside starts, connects, reads a
    long replay, or has settled.
    """
    project = project.with_skaffold(version)
    port, random = free_port(), Random(cycles)
    make_it_chatty(project)
    async with trio.open_nursery() as nursery, dev(project, port) as beside:
        await beside.idle()
        log = await reading(nursery, port)
        await log.lines(LONG_REPLAY)
        await log.lines_a_second(100)
        whole = await first_record(project, port)
        redeploying = Redeploying(project, beside)
        nursery.start_soon(redeploying.run)
        # At a random time after the start of the process, every second time after the replay.
        for cycle in range(cycles):
            async with watching(project, port) as running:
                if cycle % 2:
                    await running.wait_for(bool, 60)
                with trio.move_on_after(random.uniform(0, whole)):
                    await running.process.wait()
                await left(running)
        await redeploying.over()
        async with watching(project, port) as running:
            records = await all_ready(running)
            assert (await text_at(records["web"])).startswith(redeploying.text)
            await left(running)


@pytest.mark.parametrize("cycles", [5, pytest.param(50, marks=pytest.mark.long)])
async def test_skaffold_outlives_a_killed_portside(project: Project, cycles: int) -> None:
    """SIGKILL leaves no time to leave properly. An idle Skaffold with all events read continues and deploys again.

    A busy Skaffold does not: its next write to the socket raises SIGPIPE and ends it, and no reader can prevent that.
    """
    port = free_port()
    async with trio.open_nursery() as nursery, dev(project, port) as beside:
        await beside.idle()
        log = await reading(nursery, port)
        for cycle in range(cycles):
            async with watching(project, port) as running:
                await all_ready(running)
                await log.silence()
                running.process.kill()
                await running.process.wait()
            project.save(f"hello from {project.namespace}, version {cycle + 2}")
            await beside.idle(cycle + 2)
