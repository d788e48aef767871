"""Many connections for which something happens in the same moment: the event loop looks at its deadlines in between."""

from __future__ import annotations

import socket
from collections import Counter

import pytest
import trio

from forwarders.tasks import AT_ONCE
from tests.forwarders.cluster import endpoint
from tests.forwarders.peer import PeerStream
from tests.forwarders.running import Running

CLIENTS = 250


class Batch(trio.abc.Instrument):
    """The number of the loop's batch: of the tasks that run between two looks at sockets and deadlines."""

    number = 0

    def before_io_wait(self, timeout: float) -> None:
        self.number += 1


async def connected(port: int) -> list[socket.socket]:
    """Clients that are all served: each has a byte from the pod."""
    streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(CLIENTS)]
    for stream in streams:
        assert await stream.receive_some(1) == b"x"
    return [socket.socket(fileno=stream.socket.detach()) for stream in streams]


@pytest.mark.parametrize("what", ["leave", "ask"])
async def test_clients_that_do_something_together(running: Running, what: str) -> None:
    """All clients close, or send, before portside runs again: the pod gets that bit by bit, in many batches."""
    batch, arrived = Batch(), Counter[int]()
    trio.lowlevel.add_instrument(batch)

    async def app(stream: PeerStream) -> None:
        await stream.send_all(b"x")
        await stream.receive_some()
        arrived[batch.number] += 1

    running.pods.apps = {"a": app}
    clients = await connected(await running.start(endpoint("a")))
    try:
        for client in clients:
            client.close() if what == "leave" else client.send(b"x")
        with trio.fail_after(60):
            while arrived.total() < CLIENTS:
                await trio.lowlevel.checkpoint()
    finally:
        for client in clients:
            client.close()
    assert max(arrived.values()) <= 2 * AT_ONCE
