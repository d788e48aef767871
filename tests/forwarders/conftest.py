"""Fixtures of several suites here."""

from __future__ import annotations

import pytest
import trio

from tests.forwarders.wanting import Wanting


@pytest.fixture
async def wanting(nursery: trio.Nursery) -> Wanting:
    wanting = Wanting(nursery)
    await nursery.start(wanting.pools.run)
    return wanting
