"""A channel to one pod that raises what nobody foresaw, in whatever it is asked: other pods' connections go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from forwarders.fleet import Fleet
from forwarders.spec import PodRef
from forwarders.transports.api_server import ClusterRoute
from forwarders.transports.sockets import Channel, Piece
from tests.bulkheads.faults import FAULTS
from tests.forwarders.cluster import SPEC, Pods, endpoint, greeter

BAD, GOOD = (replace(SPEC, id=name, group=name) for name in ("bad", "good"))
OPERATIONS = ("open", "receive", "put", "flush", "close")


class Broken:
    """A channel that raises in one of its operations."""

    def __init__(self, channel: Channel, operation: str, error: Exception) -> None:
        self._channel = channel
        self._operation = operation
        self._error = error

    def _check(self, operation: str) -> None:
        if operation == self._operation:
            raise self._error

    async def receive(self) -> bytes:
        data = await self._channel.receive()
        self._check("receive")
        return data

    def put(self, data: Piece) -> bool:
        self._check("put")
        return self._channel.put(data) and self._operation != "flush"

    async def flush(self) -> None:
        self._check("flush")
        await self._channel.flush()

    async def send(self, data: Piece) -> None:
        await self._channel.send(data)

    def close(self) -> None:
        self._channel.close()
        self._check("close")


class Sea:
    """Two forwards; the sessions of one of them are broken in `operation` as long as there are `errors`."""

    def __init__(self, nursery: trio.Nursery, operation: str) -> None:
        self.pods = Pods(nursery)
        self.pods.apps = {name: greeter(name) for name in ("bad", "good")}
        self.errors = list(FAULTS)
        self.fleet = Fleet({"": ClusterRoute(self._open)}.__getitem__, Random(0), lambda status: None)
        self._operation = operation

    async def _open(self, pod: PodRef) -> tuple[Channel, bytes]:
        channel, received = await self.pods.open_channel(pod)
        if pod.name != "bad" or not self.errors:
            return channel, received
        error = self.errors.pop(0)
        if self._operation == "open":
            raise error
        return Broken(channel, self._operation, error), received

    async def ask(self, ident: str) -> bytes:
        try:
            async with await trio.open_tcp_stream("127.0.0.1", self.fleet.ports[ident]) as stream:
                return b"".join([bytes(data) async for data in stream])
        except trio.BrokenResourceError:
            return b""

    async def pause(self) -> None:
        """Until the next look."""
        await trio.sleep(0.5)


@pytest.fixture
async def sea(nursery: trio.Nursery, operation: str) -> AsyncIterator[Sea]:
    sea = Sea(nursery, operation)
    async with trio.open_nursery() as inner:
        await inner.start(sea.fleet.run)
        for spec in (BAD, GOOD):
            await sea.fleet.start(spec, (endpoint(spec.id),))
        yield sea
        inner.cancel_scope.cancel()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_session_that_fails(sea: Sea, operation: str, autojump_clock: MockClock) -> None:
    """One session is lost each time, with its connections; the next ones are opened later, and at last one works."""
    with trio.fail_after(600):
        while sea.errors:
            await sea.ask("bad")
            assert await sea.ask("good") == b"good"
            await sea.pause()
            if operation == "close":
                for peer in sea.pods.standing("bad"):
                    peer.close()
        while await sea.ask("bad") != b"bad":
            await sea.pause()
    assert await sea.ask("good") == b"good"
