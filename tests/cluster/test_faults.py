"""Pods that go and come under `portside forward`, beside a prober that opens a connection every 20 ms: no failure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from fixtures.cluster.bed import Bed
from tests.support.objects import apply, deployment, namespace, rolled_out, service
from tests.support.probe import Verdicts, get, probing
from tests.support.process import portside

pytestmark = pytest.mark.cluster

NAMESPACE = "faults"
Fault = Callable[[Bed, str], Awaitable[None]]
# Five runs of each are the bar; one each is what every change has time for.
RUNS = pytest.mark.parametrize("run", [1, *(pytest.param(n, marks=pytest.mark.long) for n in (2, 3, 4, 5))])


@pytest.fixture(scope="module")
def faults(bed: Bed) -> Iterator[Bed]:
    with namespace(bed, NAMESPACE):
        apply(bed, NAMESPACE, deployment("web"), service("web"))
        apply(bed, NAMESPACE, deployment("slow", probe=False, LISTEN_DELAY="3s"), service("slow"))
        rolled_out(bed, NAMESPACE, "web", "slow")
        yield bed


@asynccontextmanager
async def probed(bed: Bed, name: str) -> AsyncIterator[Verdicts]:
    async with portside("forward", "-n", NAMESPACE, f"svc/{name}", ":8080", environment=bed.environment()) as running:
        record = await running.ready(name)
        await get(record["localPort"])
        async with probing(record["localPort"]) as verdicts:
            await verdicts.good(25)
            yield verdicts
            await verdicts.good(25)


async def kubectl(bed: Bed, *arguments: str) -> str:
    return await trio.to_thread.run_sync(partial(bed.kubectl, "-n", NAMESPACE, *arguments, timeout=90))


async def delete_pods(bed: Bed, name: str) -> None:
    await kubectl(bed, "delete", "pod", "-l", f"app={name}", "--wait=false")
    await kubectl(bed, "rollout", "status", f"deployment/{name}", "--timeout=60s")


async def restart(bed: Bed, name: str) -> None:
    await kubectl(bed, "rollout", "restart", f"deployment/{name}")
    await kubectl(bed, "rollout", "status", f"deployment/{name}", "--timeout=60s")


async def away_and_back(bed: Bed, name: str) -> None:
    await kubectl(bed, "scale", f"deployment/{name}", "--replicas=0")
    await trio.sleep(8)
    await kubectl(bed, "scale", f"deployment/{name}", "--replicas=1")
    await kubectl(bed, "rollout", "status", f"deployment/{name}", "--timeout=60s")


@RUNS
@pytest.mark.parametrize("fault", [delete_pods, restart, away_and_back])
async def test_no_connection_fails_while_pods_change(faults: Bed, fault: Fault, run: int) -> None:
    """Deleting, restarting and scaling to nothing and back costs no connection."""
    async with probed(faults, "web") as verdicts:
        await fault(faults, "web")
    assert not verdicts.failures, verdicts.counts


@RUNS
async def test_an_app_without_a_probe_survives_its_own_restart(faults: Bed, run: int) -> None:
    """A pod that is Ready 3 s before it listens refuses meanwhile; the connections wait."""
    async with probed(faults, "slow") as verdicts:
        await restart(faults, "slow")
    assert not verdicts.failures, verdicts.counts
