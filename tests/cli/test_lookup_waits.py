"""`forward` at an API server that does not answer: it is reported, and the forwards start."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from tests.cluster_client.memory_api import SERVER
from tests.cluster_client.test_bounds import Endless
from watcher.cli.cluster_source import PATIENCE, looked_up
from watcher.cluster.api_client import ApiClient
from watcher.config.targets import parse_targets


async def test_a_server_that_takes_the_request_and_is_silent(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """One line comes within two seconds; after five the forwards start without the look-up."""
    entries = parse_targets(("svc/web", "80"), namespace="shop", addresses=("127.0.0.1",))
    async with ApiClient(SERVER, Endless()) as client:
        began = trio.current_time()
        with caplog.at_level(logging.WARNING):
            assert await looked_up({"": client}, entries) == entries
        assert trio.current_time() - began == PATIENCE
    assert [record.getMessage() for record in caplog.records] == [
        "http://api.test:6443 has not answered yet; the targets are looked up there"
    ]
