"""The network path to the API server: slow, patchy, lossy, cut, and dead in both directions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import trio

from fixtures.cluster.bed import Bed
from fixtures.net.loss import loss
from fixtures.net.way import Way
from tests.chaos.causes import api_server, kubeconfig
from tests.chaos.scene import APPS, scene

pytestmark = pytest.mark.cluster

# A round trip of 200 ms; every tenth packet lost in each direction; two cuts a second inside a TLS record.
DELAY, LOST, BETWEEN_CUTS, RECORD = 0.1, 0.1, 0.5, 16 * 1024


@asynccontextmanager
async def slow(way: Way) -> AsyncIterator[None]:
    way.delay = DELAY
    yield
    way.delay = 0


@asynccontextmanager
async def patchy(way: Way) -> AsyncIterator[None]:
    way.patchy = True
    yield
    way.patchy = False


@asynccontextmanager
async def lossy(way: Way) -> AsyncIterator[None]:
    with loss(way.port, LOST):
        yield


@asynccontextmanager
async def dead(way: Way) -> AsyncIterator[None]:
    way.hold()
    yield
    way.release()


@asynccontextmanager
async def dropping_all(way: Way) -> AsyncIterator[None]:
    with loss(way.port, 1):
        yield


@asynccontextmanager
async def cut_in_records(way: Way) -> AsyncIterator[None]:
    """Every connection, again and again, alternately with a reset and with a FIN."""

    async def cut() -> None:
        politely = False
        while True:
            way.cut(politely=politely, within=RECORD)
            politely = not politely
            await trio.sleep(BETWEEN_CUTS)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cut)
        yield
        nursery.cancel_scope.cancel()


Cause = Callable[[Way], AbstractAsyncContextManager[None]]
LONG = pytest.mark.long
# Each with its duration in seconds, and the apps whose forwards may only become slower.
CASES = [
    pytest.param(slow, 3.0, APPS, id="slow"),
    pytest.param(slow, 60.0, APPS, id="slow-long", marks=LONG),
    pytest.param(patchy, 4.0, (), id="patchy"),
    pytest.param(patchy, 60.0, (), id="patchy-long", marks=LONG),
    pytest.param(lossy, 4.0, (), id="lossy"),
    pytest.param(lossy, 60.0, (), id="lossy-long", marks=LONG),
    pytest.param(dead, 6.0, (), id="dead"),
    pytest.param(dead, 60.0, (), id="dead-long", marks=LONG),
    pytest.param(dropping_all, 60.0, (), id="dropping-long", marks=LONG),
    pytest.param(cut_in_records, 2.0, (), id="cut"),
    pytest.param(cut_in_records, 60.0, (), id="cut-long", marks=LONG),
]


@pytest.mark.parametrize(("cause", "seconds", "spared"), CASES)
async def test_a_bad_way(
    bed: Bed, space: str, tmp_path: Path, cause: Cause, seconds: float, spared: tuple[str, ...]
) -> None:
    """Whatever the path does, no client gets wrong bytes, or fewer without an error."""
    way = Way(api_server(bed), random=Random(1))
    async with trio.open_nursery() as nursery:
        config = kubeconfig(bed, tmp_path / "config", await nursery.start(way.serve))
        async with scene(bed, space, config) as it:
            name = cause.__name__.replace("_", " ")
            await it.endure(f"the way {name}, {seconds:.0f} s", cause(way), seconds, spared=spared)
        nursery.cancel_scope.cancel()
