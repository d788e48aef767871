"""Many connections for which something happens in the same moment: the event loop looks at its deadlines in between."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import Callable

import pytest
import trio
import trio.testing

from fixtures.embedded import certificates
from forwarders.transports.sockets import RawSocket, start_tls
from tests.forwarders.cluster import endpoint
from tests.forwarders.peer import PeerStream
from tests.forwarders.running import Running

CLIENTS = 250


class Batch(trio.abc.Instrument):
    """The number of the loop's batch: of the tasks that run between two looks at sockets and deadlines."""

    number = 0

    def before_io_wait(self, timeout: float) -> None:
        self.number += 1


class Drops(trio.abc.Instrument):
    """By how many `count` shrinks in one batch, at most; and how many are `left`."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self.left, self.most = count(), 0

    def before_io_wait(self, timeout: float) -> None:
        left = self._count()
        self.left, self.most = left, max(self.most, self.left - left)


@pytest.fixture
async def batch() -> Batch:
    batch = Batch()
    trio.lowlevel.add_instrument(batch)
    return batch


async def connected(port: int) -> list[socket.socket]:
    """Clients that are all served: each has a byte from the pod."""
    streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(CLIENTS)]
    for stream in streams:
        assert await stream.receive_some(1) == b"x"
    return [socket.socket(fileno=stream.socket.detach()) for stream in streams]


@pytest.mark.parametrize("what", ["leave", "ask"])
async def test_clients_that_do_something_together(running: Running, batch: Batch, what: str) -> None:
    """All clients close, or send, before portside runs again: the pod gets that bit by bit, in many batches."""
    arrived = Counter[int]()

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
    assert max(arrived.values()) <= 2 * 32


async def test_sessions_that_are_lost_together(running: Running) -> None:
    """The API server ends, and with it some fifty sessions to the pod: they end bit by bit."""

    async def app(stream: PeerStream) -> None:
        await stream.send_all(b"x")

    running.pods.apps = {"a": app}
    clients = await connected(await running.start(endpoint("a")))
    drops = Drops(lambda: running.fleet.pools.sessions)
    assert drops.left >= 40
    trio.lowlevel.add_instrument(drops)
    running.pods.refusing = True
    for peer in running.pods.standing("a"):
        peer.close()
    with trio.fail_after(60):
        while drops.left:
            await trio.lowlevel.checkpoint()
    for client in clients:
        client.close()
    assert drops.most <= 20


async def test_tls_handshakes_that_are_answered_together(batch: Batch) -> None:
    """Twenty answers that arrive in one moment: each costs two milliseconds, and few are computed in one batch."""
    made, shaken = certificates.make("admin"), Counter[int]()
    server = certificates.server_context(made)
    client = ssl.create_default_context(cadata=made.authority.decode())
    pairs = [socket.socketpair() for _ in range(20)]

    async def shake(ours: socket.socket) -> None:
        channel = await start_tls(RawSocket(ours), client, "localhost")
        shaken[batch.number] += 1
        channel.close()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for ours, _ in pairs:
                nursery.start_soon(shake, ours)
            await trio.testing.wait_all_tasks_blocked(0.05)
            answers = [answer_to(server, theirs) for _, theirs in pairs]
            for (_, theirs), answer in zip(pairs, answers, strict=True):
                theirs.sendall(answer)
    for _, theirs in pairs:
        theirs.close()
    assert shaken.total() == len(pairs)
    assert max(shaken.values()) <= 3


def answer_to(context: ssl.SSLContext, theirs: socket.socket) -> bytes:
    """The server's part of a handshake, for the client's hello that has arrived."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(theirs.recv(65536))
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()
