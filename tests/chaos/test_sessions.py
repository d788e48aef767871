"""The sessions to one pod, cut or dead, beside those to other pods; and portside itself stopped for a while."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio

from fixtures.cluster.bed import Bed
from fixtures.net.interceptor import Interceptor
from fixtures.net.way import Way
from tests.chaos.causes import api_server, kubeconfig
from tests.chaos.scene import Scene, scene

pytestmark = pytest.mark.cluster

OTHERS = ("a", "b", "c")
LONG = pytest.mark.long


@asynccontextmanager
async def cut(between: Interceptor, pod: str) -> AsyncIterator[None]:
    assert between.cut_sessions(pod)
    yield


@asynccontextmanager
async def dead(between: Interceptor, pod: str) -> AsyncIterator[None]:
    between.hold_sessions(pod)
    yield
    between.release_sessions(pod)


@pytest.mark.parametrize(
    ("cause", "seconds"),
    [pytest.param(cut, 0.0), pytest.param(dead, 6.0), pytest.param(dead, 60.0, marks=LONG)],
)
async def test_the_sessions_to_one_pod(
    bed: Bed,
    space: str,
    tmp_path: Path,
    cause: Callable[[Interceptor, str], AbstractAsyncContextManager[None]],
    seconds: float,
) -> None:
    """Forwards to other pods notice nothing."""
    between = Interceptor(bed)
    async with trio.open_nursery() as nursery:
        config = kubeconfig(bed, tmp_path / "config", await nursery.start(between.serve))
        async with scene(bed, space, config) as it:
            concerned = cause(between, await it.pod("d"))
            await it.endure(f"one pod's sessions {cause.__name__}, {seconds:.0f} s", concerned, seconds, spared=OTHERS)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def stopped(scene: Scene, harm: Callable[[], int]) -> AsyncIterator[None]:
    """portside as after a suspend: it did not run, and its connections are gone."""
    scene.running.process.send_signal(signal.SIGSTOP)
    try:
        assert harm()
        yield
    finally:
        scene.running.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("harm", "seconds"),
    [
        pytest.param("cut", 3.0),
        pytest.param("cut", 90.0, marks=LONG),
        pytest.param("forget", 90.0, marks=LONG),
    ],
)
async def test_portside_stopped_while_its_sessions_end(
    bed: Bed, space: str, tmp_path: Path, harm: str, seconds: float
) -> None:
    """Cut with a reset or silently: when it runs again, new connections are answered."""
    way = Way(api_server(bed))
    async with trio.open_nursery() as nursery:
        config = kubeconfig(bed, tmp_path / "config", await nursery.start(way.serve))
        async with scene(bed, space, config) as it:
            cause = stopped(it, way.cut if harm == "cut" else way.forget)
            await it.endure(f"portside stopped for {seconds:.0f} s, its sessions: {harm}", cause, seconds)
        nursery.cancel_scope.cancel()
