"""Fixtures of several suites here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from tests.forwarders.choosing import Choosing
from tests.forwarders.running import Running
from tests.forwarders.sides import Sides
from tests.forwarders.waiting import OPENED
from tests.forwarders.wanting import Wanting


@pytest.fixture
async def wanting(nursery: trio.Nursery) -> Wanting:
    wanting = Wanting(nursery)
    await nursery.start(wanting.pools.run)
    return wanting


@pytest.fixture
async def choosing(nursery: trio.Nursery) -> Choosing:
    choosing = Choosing(nursery)
    await nursery.start(choosing.pools.run)
    return choosing


@pytest.fixture
async def running(nursery: trio.Nursery) -> AsyncIterator[Running]:
    running = Running(nursery)
    async with trio.open_nursery() as inner:
        await inner.start(running.fleet.run)
        yield running
        inner.cancel_scope.cancel()
    nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Whatever a test leaves open is closed: a test that fails does not fail its neighbour."""
    yield
    while OPENED:
        OPENED.pop().close()


@pytest.fixture
def sides(nursery: trio.Nursery) -> Sides:
    return Sides(nursery)
