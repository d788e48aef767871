"""A forward is stopped, or started again, in whatever moment of its connections: nobody else notices."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from random import Random

import pytest
import trio
import trio.testing
from msgspec.structs import replace
from trio.testing import MockClock

from forwarders.fleet import Fleet
from forwarders.spec import PodRef
from forwarders.transports.api_server import ClusterRoute
from forwarders.transports.sockets import Channel
from tests.forwarders.cluster import SPEC, Pods, endpoint, greeter
from tests.forwarders.peer import PeerStream

OTHER = replace(SPEC, id="other", group="other")
CLIENTS = 3
MORE = 4 * 1024 * 1024  # Linux takes 1.3 MB at once on loopback
MOMENTS = 20


class Far:
    """A channel to a pod that is so many seconds away: what it sends arrives later."""

    def __init__(self, channel: Channel, seconds: float) -> None:
        self._channel = channel
        self._seconds = seconds
        self.put, self.flush, self.send, self.close = channel.put, channel.flush, channel.send, channel.close

    async def receive(self) -> bytes:
        data = await self._channel.receive()
        await trio.sleep(self._seconds)
        return data


class Loaded:
    """A fleet with one forward to a pod that sends when it is told to, and another one that greets its clients."""

    def __init__(self, nursery: trio.Nursery, latency: float) -> None:
        self.pods = Pods(nursery)
        self.pods.apps = {"told": self._answer, "calm": greeter("calm")}
        self.fleet = Fleet({"": ClusterRoute(self._open)}.__getitem__, Random(0), lambda status: None)
        self._streams: list[PeerStream] = []
        self._latency = latency

    async def _answer(self, stream: PeerStream) -> None:
        await stream.send_all(b".")
        self._streams.append(stream)

    async def _open(self, pod: PodRef) -> tuple[Channel, bytes]:
        channel, received = await self.pods.open_channel(pod)
        return Far(channel, self._latency), received

    async def start(self) -> None:
        self._streams.clear()
        await self.fleet.start(SPEC, (endpoint("told"),))

    async def download(self) -> trio.SocketStream:
        """A client whose socket takes next to nothing, and that does not read."""
        sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await sock.connect(("127.0.0.1", self.fleet.ports["one"]))
        stream = trio.SocketStream(sock)
        await stream.receive_some(1)
        return stream

    def send(self) -> None:
        """More than any socket takes, to all clients at once."""
        for stream in self._streams:
            stream.send_at_once(bytes(MORE))

    async def other_answers(self) -> None:
        with trio.fail_after(60):
            async with await trio.open_tcp_stream("127.0.0.1", self.fleet.ports["other"]) as stream:
                assert b"".join([bytes(data) async for data in stream]) == b"calm"


@pytest.fixture
async def loaded(nursery: trio.Nursery, latency: float) -> AsyncIterator[Loaded]:
    loaded = Loaded(nursery, latency)
    async with trio.open_nursery() as inner:
        await inner.start(loaded.fleet.run)
        await loaded.fleet.start(OTHER, (endpoint("calm"),))
        yield loaded
        inner.cancel_scope.cancel()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("latency", [0.0, 0.025, 0.125])
async def test_a_download_fills_its_socket(loaded: Loaded, latency: float, autojump_clock: MockClock) -> None:
    """Stopped in the moment in which more comes than a client takes, many times: other forwards go on."""
    for moment in range(MOMENTS):
        await loaded.start()
        clients = [await loaded.download() for _ in range(CLIENTS)]
        loaded.send()
        if latency:
            await trio.sleep(latency)
        for _ in range(moment % 5):
            await trio.lowlevel.checkpoint()
        await loaded.fleet.stop("one")
        for client in clients:
            await client.aclose()
        await loaded.other_answers()
