"""The status address over real sockets: the documented paths, and what remains afterwards."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
import trio

from forwarders.spec import Counts
from tests.board.made import forward, plan, skaffold, skip, subscriptions
from tests.status.made import LOOPBACK, port_of, served
from watcher.board.addresses import Address, listen, status_url
from watcher.board.board import Board
from watcher.board.http import server
from watcher.board.http.routes import Routes
from watcher.board.http.server import Guard


async def test_the_contracts_paths() -> None:
    """healthz at once; readyz 503 until the plan has settled and all is ready; the forwards as objects."""
    board = Board()
    board.counters = lambda: {forward().id: Counts(since=datetime.now(UTC), connections_total=7)}
    async with served(board) as client:
        assert (await client.get("/healthz")).status_code == 200
        early = await client.get("/readyz")
        assert (early.status_code, early.text) == (503, "the first deploy or the first lists are not complete\n")
        board.publish(plan())
        board.publish(forward(state="listening", reason="no pod"))
        board.publish(skip())
        waits = await client.get("/readyz")
        assert (waits.status_code, waits.text) == (503, f"listening {forward().id} no pod\n")
        board.publish(forward())
        assert (await client.get("/readyz")).status_code == 200
        shown = await client.get("/v1/forwards")
        assert shown.headers["content-type"] == "application/json"
        assert [(f["kind"], f["resourceName"], f["localPort"]) for f in shown.json()] == [("forward", "web", 8080)]
        assert shown.json()[0]["connectionsTotal"] == 7
        board.publish(forward(state="failed"))
        assert (await client.get("/readyz")).status_code == 503


async def test_skaffold_is_its_newest_record() -> None:
    """null before there is one; then the same object as in the events."""
    board = Board()
    async with served(board) as client:
        assert (await client.get("/v1/skaffold")).json() is None
        board.publish(skaffold())
        board.publish(skaffold(change="phase", phase="building", iteration=2, failed=True, error="no such file"))
        shown = (await client.get("/v1/skaffold")).json()
        assert (shown["kind"], shown["iteration"], shown["phase"]) == ("skaffold", 2, "building")
        assert (shown["failed"], shown["error"], shown["iterationBegan"]) == (True, "no such file", "")


async def test_events_are_the_same_objects_as_they_come() -> None:
    """Server-sent events: what is true first, then each change; the board's end is theirs."""
    board = Board()
    board.publish(skaffold())
    board.publish(forward(state="listening"))
    async with served(board) as client, client.stream("GET", "/v1/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        assert (await _event(lines))["kind"] == "skaffold"
        assert (await _event(lines))["state"] == "listening"
        board.publish(forward())
        assert (await _event(lines))["state"] == "ready"
        board.close()
        with trio.fail_after(60):
            assert [line async for line in lines if line] == []


async def _event(lines: AsyncIterator[str]) -> dict[str, object]:
    with trio.fail_after(60):
        async for line in lines:
            if line:
                event: dict[str, object] = json.loads(line.removeprefix("data: "))
                return event
    raise AssertionError("the events ended")


async def test_readers_that_leave_are_forgotten() -> None:
    """A browser tab that was closed costs nothing afterwards."""
    board = Board()
    board.publish(forward())
    async with served(board) as client:
        for _ in range(3):
            async with await trio.open_tcp_stream("127.0.0.1", port_of(client)) as browser:
                await browser.send_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                received = b""
                while b"data: {" not in received:
                    received += await browser.receive_some()
        with trio.fail_after(60):
            while subscriptions(board):  # noqa: ASYNC110 - the server tells nobody when it has noticed
                await trio.sleep(0.01)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_loopback_addresses(host: str) -> None:
    """Each answers under the URL that is announced."""
    if host == "::1" and not _has_ipv6():
        pytest.skip("this host has no ::1")
    async with served(Board(), Address(host, 0)) as client:
        assert (await client.get("/healthz")).text == "ok\n"


async def test_serving_leaves_no_descriptor_behind() -> None:
    """Serving and cancelling repeatedly on one socket leaks no file descriptor."""
    with listen(LOOPBACK) as sock:
        await _serve_once(sock)  # imports and caches open what stays open
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            await _serve_once(sock)
        assert len(os.listdir("/proc/self/fd")) == before
        assert sock.getsockname()[1]


async def _serve_once(sock: socket.socket) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, sock, Routes(Board()), Guard())
        async with httpx.AsyncClient(base_url=status_url(sock), timeout=60, trust_env=False) as client:
            assert (await client.get("/healthz")).status_code == 200
        nursery.cancel_scope.cancel()


def _has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True
