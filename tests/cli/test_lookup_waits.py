"""`forward` looks its targets up: beside the lists, and not longer than it may take."""

from __future__ import annotations

import json
import logging
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from tests.cli.made import PATIENCE as ENOUGH
from tests.cli.made import Place, kubeconfig
from tests.cluster_client.memory_api import SERVER
from tests.cluster_client.test_bounds import Endless
from tests.support.process import portside
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


async def test_the_lists_are_requested_together_with_the_target(place: Place) -> None:
    """Its answer comes only when the lists have been requested: each round trip less counts at a distance."""
    listed, found = trio.Event(), trio.Event()
    together: list[bool] = []

    async def answer(stream: trio.SocketStream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += await stream.receive_some() or b"\r\n\r\n"
        path = request.split()[1].decode() if request.strip() else ""
        content: dict[str, object] = {"metadata": {"resourceVersion": "1"}, "items": []}
        if path.endswith("/services/web"):
            with trio.move_on_after(PATIENCE / 2):
                await listed.wait()
            together.append(listed.is_set())
            found.set()
            content = {"metadata": {"name": "web", "namespace": "default", "uid": "1"}, "spec": {}}
        else:
            listed.set()
        body = json.dumps(content).encode()
        head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        await stream.send_all(head.encode() + body)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        place.environment["KUBECONFIG"] = place.write("server", kubeconfig(port))
        async with portside("forward", "svc/web", ":8080", environment=place.environment, folder=place.folder):
            with trio.fail_after(ENOUGH):
                await found.wait()
        nursery.cancel_scope.cancel()
    assert together == [True]
