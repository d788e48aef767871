"""The cluster's own servers, one after another: killed, restarted, frozen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from fixtures.cluster.bed import Bed
from tests.chaos.causes import in_thread, reachable
from tests.chaos.scene import APPS, Scene, scene

pytestmark = pytest.mark.cluster


@dataclass(frozen=True)
class Trouble:
    """Trouble with one server. `spared`: the apps whose forwards do not need it while their pods stay as they are."""

    server: str
    begin: Callable[[Bed, str], None]
    end: Callable[[Bed, str], None]
    spared: tuple[str, ...] = ()


# Every session runs through API server, kubelet and containerd, so each of them affects all.
TROUBLES = {
    "apiserver killed": Trouble("apiserver", Bed.kill, Bed.start),
    "etcd paused": Trouble("etcd", Bed.pause, Bed.resume, spared=APPS),
    "kubelet restarted": Trouble("kubelet", Bed.stop, Bed.start),
    "containerd restarted": Trouble("containerd", Bed.stop, Bed.start),
}


@asynccontextmanager
async def lasting(scene: Scene, trouble: Trouble) -> AsyncIterator[None]:
    await in_thread(trouble.begin, scene.bed, trouble.server)
    try:
        yield
    finally:
        await in_thread(trouble.end, scene.bed, trouble.server)
    await in_thread(reachable, scene.bed, scene.space)


@pytest.mark.parametrize("seconds", [1.0, pytest.param(30.0, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", TROUBLES)
async def test_a_server_goes_and_comes_back(bed: Bed, space: str, name: str, seconds: float) -> None:
    """Connections over it end with an error or stay; all are answered when it is back."""
    trouble = TROUBLES[name]
    async with scene(bed, space, bed.kubeconfig) as it:
        await it.endure(f"{name}, {seconds:.0f} s", lasting(it, trouble), seconds, spared=trouble.spared)
