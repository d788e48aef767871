"""Servers that say nothing, or not enough: each wait for them ends, and a dead network is the kernel's to notice."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
from trio.testing import MockClock

from forwarders.transports.api_server import ApiServer
from tests.cluster_client.memory_api import SERVER, Feed, MemoryApi, no_headers
from watcher.cluster.api_client import ApiClient
from watcher.cluster.kinds import POD
from watcher.cluster.store import Watch
from watcher.errors import ApiUnreachableError

PODS = Watch(POD, "shop")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Silent:
    """A server of one connection that reads a request, says `head` and nothing more; `asked` is set by then."""

    def __init__(self, listener: trio.SocketListener, head: bytes) -> None:
        self.port = listener.socket.getsockname()[1]
        self.asked = trio.Event()
        self.peer_port = 0
        self._listener = listener
        self._head = head

    async def serve(self) -> None:
        async with await self._listener.accept() as stream:
            self.peer_port = stream.socket.getpeername()[1]
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive_some()
            if self._head:
                await stream.send_all(self._head)
            self.asked.set()
            await trio.sleep_forever()


@asynccontextmanager
async def silent(head: bytes = b"") -> AsyncIterator[tuple[Silent, ApiClient]]:
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            server = Silent(listener, head)
            nursery.start_soon(server.serve)
            async with ApiClient(ApiServer("127.0.0.1", server.port, "", None, "127.0.0.1", no_headers)) as client:
                yield server, client
        nursery.cancel_scope.cancel()


async def test_a_server_that_never_answers_is_given_up_after_30_s(mock_clock: MockClock) -> None:
    """The request ends with a line that says so; the clock moves by the test's hand alone."""
    async with silent() as (server, client), trio.open_nursery() as nursery:
        failures: list[str] = []

        async def ask() -> None:
            try:
                await client.server_version()
            except ApiUnreachableError as error:
                failures.append(str(error))

        nursery.start_soon(ask)
        await server.asked.wait()
        await trio.testing.wait_all_tasks_blocked()  # the client waits for an answer by then
        mock_clock.jump(29)
        await trio.testing.wait_all_tasks_blocked()
        assert not failures
        mock_clock.jump(2)
        await trio.testing.wait_all_tasks_blocked()
        assert failures == [f"the API server http://127.0.0.1:{server.port} cannot be reached: no answer in time"]


async def test_an_answer_that_never_ends_has_an_end(autojump_clock: MockClock) -> None:
    """A byte every 20 s keeps every single read alive; the whole has a deadline of its own."""
    feed = Feed()

    class Dripping(MemoryApi):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, stream=feed)

    async def drip() -> None:
        while not feed.closed:
            feed.send(b" ")
            await trio.sleep(20)

    async with ApiClient(SERVER, Dripping()) as client, trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        began = trio.current_time()
        with pytest.raises(ApiUnreachableError, match="did not end its answer within 120 s"):
            await client.list(PODS)
        assert trio.current_time() - began == pytest.approx(120)
        assert feed.closed


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's timers are read from Linux' /proc")
async def test_the_kernel_looks_after_a_watch_that_is_silent() -> None:
    """An idle watch's socket has a keepalive timer that runs within 10 s, not the system's two hours."""
    async with silent(CHUNKED) as (server, client), client.watch(PODS, "1", 300):
        timer, seconds = _timer(server.peer_port, server.port)
        assert timer == "keepalive"
        assert 0 < seconds <= 10


def _timer(local: int, remote: int) -> tuple[str, float]:
    """What the kernel waits for on a connection, and for how long: `tr` and `tm->when` of /proc/net/tcp (proc(5))."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{local:04X}") and fields[2].endswith(f":{remote:04X}"):
            kind, when = fields[5].split(":")
            # In jiffies for users: 100 a second on every Linux.
            return {"01": "retransmit", "02": "keepalive"}.get(kind, kind), int(when, 16) / 100
    raise AssertionError("no such connection")
