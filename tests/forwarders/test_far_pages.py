"""A web page from a distant cluster, as a browser loads it: how many round trips it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from forwarders.spec import State
from tests.forwarders.cluster import endpoint
from tests.forwarders.peer import PeerStream
from tests.forwarders.running import Running

ROUND_TRIP, OPENING = 0.05, 0.25
FILES, CONNECTIONS = 60, 6
ANSWER = b"a file" * 100


async def application(stream: PeerStream) -> None:
    while await stream.receive_some():
        await stream.send_all(ANSWER)


@asynccontextmanager
async def far(nursery: trio.Nursery) -> AsyncIterator[int]:
    """The port of a forward to a distant pod whose sessions have served a few connections."""
    running = Running(nursery)
    running.pods.round_trip, running.pods.latency = ROUND_TRIP, OPENING
    running.pods.apps["a"] = application
    async with trio.open_nursery() as inner:
        await inner.start(running.fleet.run)
        port = await running.start(endpoint("a"))
        await running.until(State.READY)
        for _ in range(10):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await ask(stream)
        yield port
        inner.cancel_scope.cancel()
    nursery.cancel_scope.cancel()


async def ask(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET")
    size = 0
    while size < len(ANSWER):
        size += len(await stream.receive_some(1000))


async def page(port: int) -> float:
    """Round trips until the document and its files are there. Each connection asks for the next file after the last."""
    began = trio.current_time()
    left = iter(range(FILES))

    async def load(stream: trio.SocketStream) -> None:
        async with stream:
            while next(left, None) is not None:
                await ask(stream)

    document = await trio.open_tcp_stream("127.0.0.1", port)
    await ask(document)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load, document)
        for _ in range(CONNECTIONS - 1):
            nursery.start_soon(load, await trio.open_tcp_stream("127.0.0.1", port))
    return (trio.current_time() - began) / ROUND_TRIP


async def test_a_page_takes_the_round_trips_that_http_needs(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """One for the document, ten for its files; one more for the first page, which finds two sessions only."""
    async with far(nursery) as port:
        pages = [await page(port) for _ in range(4)]
    assert pages[0] <= 12.2
    assert max(pages[1:]) <= 11.2
