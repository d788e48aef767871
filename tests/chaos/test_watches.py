"""Watches end all the time, with and without an error, while a pod is replaced: changes still arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio

from fixtures.cluster.bed import Bed
from fixtures.net.interceptor import Interceptor
from tests.chaos.causes import kubeconfig
from tests.chaos.scene import Scene, scene

pytestmark = pytest.mark.cluster

OTHERS = ("a", "b", "c")
BETWEEN_CUTS = 2.0


@asynccontextmanager
async def cut_every_2_s(between: Interceptor) -> AsyncIterator[None]:
    async def cut() -> None:
        while True:
            between.end_watches()
            await trio.sleep(BETWEEN_CUTS)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cut)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def error_410(between: Interceptor) -> AsyncIterator[None]:
    between.refuse_watches(410, "Expired", "too old resource version: 1 (2)")
    yield
    between.allow_watches()


@asynccontextmanager
async def error_504(between: Interceptor) -> AsyncIterator[None]:
    between.refuse_watches(504, "Timeout", "Too large resource version: 2, current: 1")
    yield
    between.allow_watches()


Cause = Callable[[Interceptor], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def replacing(scene: Scene, cause: AbstractAsyncContextManager[None]) -> AsyncIterator[None]:
    """During the cause the pod of `d` is killed, and the next one is Ready before the cause ends."""
    before = await scene.pod("d")
    async with cause:
        await scene.kubectl("delete", "pod", before, "--grace-period=0", "--force")
        await scene.kubectl("rollout", "status", "deployment/d", "--timeout=60s")
        yield


@pytest.mark.parametrize("seconds", [1.0, pytest.param(60.0, marks=pytest.mark.long)])
@pytest.mark.parametrize("cause", [cut_every_2_s, error_410, error_504])
async def test_watches_that_end(bed: Bed, space: str, tmp_path: Path, cause: Cause, seconds: float) -> None:
    """Forwards that need no change continue; the one that needs it has it within a second of the cause's end."""
    between = Interceptor(bed)
    async with trio.open_nursery() as nursery:
        config = kubeconfig(bed, tmp_path / "config", await nursery.start(between.serve))
        async with scene(bed, space, config) as it:
            watched = between.watched
            name = cause.__name__.replace("_", " ")
            await it.endure(
                f"watches: {name}, {seconds:.0f} s",
                replacing(it, cause(between)),
                seconds,
                spared=OTHERS,
                killed={"d"},
            )
            assert between.watched > watched
        nursery.cancel_scope.cancel()
