"""The kernel kills a pod's application for its memory, beside healthy pods."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from fixtures.cluster.bed import Bed
from fixtures.cluster.errors import BrokenError
from tests.chaos.scene import Scene, scene
from tests.support.probe import get, outcome

pytestmark = pytest.mark.cluster

OTHERS = ("a", "b", "c")
RESTARTS = "{.status.containerStatuses[0].restartCount}"


@asynccontextmanager
async def out_of_memory(scene: Scene, times: int) -> AsyncIterator[None]:
    """The app of `d` exceeds its memory limit so many times; over when its pod is Ready again."""
    pod = await scene.pod("d")
    began = int(await scene.kubectl("get", "pod", pod, "-o", f"jsonpath={RESTARTS}"))
    async with trio.open_nursery() as nursery:
        for time in range(1, times + 1):
            await _killed(scene, pod, began + time, nursery)
            if time < times:
                await scene.kubectl("wait", "pod", pod, "--for=condition=Ready", "--timeout=80s")
        yield
        await scene.kubectl("wait", "pod", pod, "--for=condition=Ready", "--timeout=80s")
        nursery.cancel_scope.cancel()
    last = await scene.kubectl("get", "pod", pod, "-o", "jsonpath={..lastState.terminated.reason}")
    assert last == "OOMKilled"


async def _killed(scene: Scene, pod: str, restarts: int, nursery: trio.Nursery) -> None:
    """Repeats a lost request, since it may not have arrived.

    Waits first until the kubelet has had time for the restart (20 s the third time), since a waiting request would kill
    the application again.
    """
    for tries_left in reversed(range(4)):
        nursery.start_soon(outcome, get(scene.traffic.targets["d"].http, "/eat", method="POST"))
        try:
            await scene.kubectl("wait", "pod", pod, f"--for=jsonpath={RESTARTS}={restarts}", "--timeout=60s")
        except BrokenError:
            if not tries_left:
                raise
        else:
            return


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.long)])
async def test_a_pod_out_of_memory(bed: Bed, space: str, times: int) -> None:
    """Only its own connections end with it; new ones wait for its next start."""
    await_fresh(bed, space)
    async with scene(bed, space, bed.kubeconfig) as it:
        await it.endure(f"pod OOM-killed {times} times", out_of_memory(it, times), 0, spared=OTHERS, killed={"d"})


def await_fresh(bed: Bed, space: str) -> None:
    """A pod of `d` without restarts, so that the kubelet does not delay its next one."""
    bed.kubectl("-n", space, "delete", "pod", "-l", "app=d", "--grace-period=0", "--force")
    bed.kubectl("-n", space, "rollout", "status", "deployment/d", "--timeout=60s", timeout=90)
