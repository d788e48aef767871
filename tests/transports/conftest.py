"""The network in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from tests.transports.net import Net


@pytest.fixture
async def net(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Net]:
    async with trio.open_nursery() as nursery:
        yield Net(nursery, monkeypatch)
        nursery.cancel_scope.cancel()
