"""One portside, its forwards to one pod, and sequences of trouble: on the embedded cluster and on the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from fixtures.cluster.bed import Bed
from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.apps import standard
from tests.isolation.crowd import STUCK, Place, gathered
from tests.isolation.machine import run_sequences
from tests.support.objects import apply, deployment, namespace, rolled_out
from tests.support.probe import reach_directly
from tests.support.process import portside

HTTP, ECHO, REFUSED = 8080, 7000, 7999
# File descriptors that portside may hold behind any number of sequences: sessions that nobody uses go after 30 s, so
# those of the last few hundred sequences are there; one left behind by each of 2,500 would show.
MOST_OPEN = 1_000
# Of portside's own log, beside a failure: characters.
LAST_WORDS = 5_000


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """Trio, in its own thread."""
    with start_blocking_portal(backend="trio") as running:
        yield running


@asynccontextmanager
async def forwarding(environment: Mapping[str, str], *options: str) -> AsyncIterator[Place]:
    words = ("forward", "-vv", *options, "--address=127.0.0.1", "deployment/web", f":{HTTP}", f":{ECHO}", f":{REFUSED}")
    async with portside(*words, environment=environment) as program:
        ports = [(await program.ready("web", remotePort=port))["localPort"] for port in (HTTP, ECHO, REFUSED)]
        direct = environment.get("PORTSIDE_DIRECT") == "always"
        if direct:
            await reach_directly(program, "web", HTTP)
        yield Place(program, direct, *ports)


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Place]:
    async with EmbeddedCluster.open() as cluster:
        await cluster.deployment("web", standard("isolation"))
        kubeconfig = cluster.kubeconfig(folder / "kubeconfig")
        async with forwarding({}, f"--kubeconfig={kubeconfig}") as running:
            yield running


def run(portal: BlockingPortal, place: Place, count: int) -> None:
    """Runs the sequences. They leave nothing behind in the process, which ends with code 0."""
    try:
        run_sequences(portal, place, count)
    except BaseException as error:
        error.add_note(f"portside said: {place.program.stderr[-LAST_WORDS:]}")
        raise
    assert psutil.Process(place.program.process.pid).num_fds() < MOST_OPEN
    assert portal.call(place.program.end) == 0


SLOW, SIBLINGS = 8, 5


async def readers_opened_together(place: Place) -> None:
    """Eight readers that stop at once, with short requests beside them and after them: each is answered."""
    async with gathered(place) as crowd:
        for _ in range(SLOW):
            await crowd.stall(stuck=False)
        for _ in range(2):
            crowd.download(1000)
        if not place.direct:
            await place.program.wait_for(lambda said: place.program.stderr.count(STUCK) >= SLOW)
        for _ in range(SIBLINGS):
            crowd.download(1000)
        await crowd.siblings_deliver()
        assert not crowd.problems, crowd.problems


def test_slow_readers_opened_together(portal: BlockingPortal, tmp_path: Path) -> None:
    """No connection waits for a stranger's reader."""
    with portal.wrap_async_context_manager(embedded(tmp_path)) as place:
        portal.call(readers_opened_together, place)


@pytest.mark.cluster
@pytest.mark.every_bed("isolation: slow readers opened together")
def test_slow_readers_opened_together_on_the_real_cluster(portal: BlockingPortal, bed: Bed) -> None:
    """The same through a real API server, kubelet and container runtime."""
    with namespace(bed, "isolation-together") as space:
        apply(bed, space, deployment("web", ECHO_PORT=str(ECHO)))
        rolled_out(bed, space, "web")
        with portal.wrap_async_context_manager(forwarding(bed.environment(), "-n", space)) as place:
            portal.call(readers_opened_together, place)


# Ten thousand in four parts, which may run side by side (`-k quarter2`).
QUARTERS = [pytest.param(2_500, marks=pytest.mark.long, id=f"quarter{number}") for number in range(1, 5)]


@pytest.mark.parametrize("count", [50, *QUARTERS])
def test_trouble_in_any_order(portal: BlockingPortal, tmp_path: Path, count: int) -> None:
    """Whatever stalls, is reset, refused or aborted beside them, in any order: siblings deliver every byte."""
    with portal.wrap_async_context_manager(embedded(tmp_path)) as place:
        run(portal, place, count)


@pytest.mark.cluster
@pytest.mark.every_bed("isolation: trouble beside siblings")
@pytest.mark.parametrize("count", [5, pytest.param(200, marks=pytest.mark.long)])
def test_trouble_in_any_order_on_the_real_cluster(portal: BlockingPortal, bed: Bed, count: int) -> None:
    """The same through a real API server, kubelet and containerd."""
    with namespace(bed, f"isolation-{count}") as space:
        apply(bed, space, deployment("web", ECHO_PORT=str(ECHO)))
        rolled_out(bed, space, "web")
        with portal.wrap_async_context_manager(forwarding(bed.environment(), "-n", space)) as place:
            run(portal, place, count)
