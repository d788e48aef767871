"""Forwards are stopped, started again and sent to other pods while connections of every kind run through them.

A connection whose forward stays is answered whole. One that is cut sees an error: never other bytes, never a clean end
that is short.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter
from hashlib import sha256
from random import Random

import msgspec
import pytest
import trio
from trio.testing import MockClock

from forwarders.spec import ForwardSpec, PortPolicy, PortRequest
from tests.forwarders.cluster import SPEC, endpoint
from tests.forwarders.peer import PeerStream
from tests.forwarders.running import Running

FORWARDS, PODS = ("one", "two", "three", "four"), ("a", "b")
CLIENTS, EDITS = 2, 25
SMALL, LARGE = 2_000, 600_000
PATIENCE = 60.0
HEAD = 16


async def application(stream: PeerStream) -> None:
    """Reads how much it is to get and to give, reads it, and answers with its digest and as many bytes."""
    data = b""
    while len(data) < HEAD:
        if not (more := await stream.receive_some()):
            return
        data += more
    up, down = int(data[:8]), int(data[8:HEAD])
    data = data[HEAD:]
    while len(data) < up:
        if not (more := await stream.receive_some()):
            return
        data += more
    await stream.send_all(sha256(data).digest() + bytes(down))
    await stream.aclose()


class Load:
    """Clients of one fleet, each connection judged. `fates`: how they fared; `wrong`: what may never be."""

    def __init__(self, running: Running, random: Random) -> None:
        self.running = running
        self.ports: dict[str, int] = {}
        self.life = Counter[str]()  # by forward: how often it was stopped
        self.fates = Counter[str]()
        self.wrong: list[str] = []
        self.over = False
        self._random = random

    async def client(self, ident: str) -> None:
        while not self.over:
            life = self.life[ident]
            try:
                fate = await self._exchange(self.ports[ident])
            except (OSError, trio.BrokenResourceError) as error:
                fate = "cut"
                if life == self.life[ident]:
                    self.wrong.append(f"{ident} was cut though nothing happened to it: {error!r}")
            self.fates[fate] += 1
            await trio.sleep(self._random.uniform(0, 0.1))

    async def _exchange(self, port: int) -> str:
        up, down = self._random.choice([(SMALL, SMALL), (LARGE, SMALL), (SMALL, LARGE)])
        sent = self._random.randbytes(up)
        with trio.move_on_after(PATIENCE) as patience:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
                if self._random.random() < 0.1:
                    return "left"
                await stream.send_all(b"%8d%8d" % (up, down) + sent)
                if self._random.random() < 0.3:
                    await trio.sleep(self._random.uniform(0, 1))  # the answer fills the sockets
                got = b"".join([bytes(piece) async for piece in stream])
        if patience.cancelled_caught:
            self.wrong.append("no answer")
        elif got != sha256(sent).digest() + bytes(down):
            self.wrong.append(f"{len(got)} bytes of {32 + down}, or other ones, and a clean end")
        return "answered"


class Editing:
    """What happens to the forwards, one step at a time."""

    def __init__(self, running: Running, load: Load, random: Random) -> None:
        self._running = running
        self._load = load
        self._random = random

    async def start(self, ident: str) -> None:
        port = self._load.ports.get(ident, 0)
        port_request = PortRequest(PortPolicy.DEMANDED, port) if port else PortRequest(PortPolicy.SYSTEM)
        spec: ForwardSpec = msgspec.structs.replace(SPEC, id=ident, group=ident, port=port_request, hold=PATIENCE)
        self._load.ports[ident] = await self._running.start(endpoint(self._random.choice(PODS)), spec=spec)

    async def step(self) -> None:
        ident, fleet = self._random.choice(FORWARDS), self._running.fleet
        match self._random.choice(["stop", "move", "empty"]):
            case "stop":
                self._load.life[ident] += 1
                await fleet.stop(ident)
                assert not fleet.ports.get(ident)
                await self.start(ident)
            case "move":
                fleet.update(ident, (endpoint(self._random.choice(PODS)),))
            case "empty":
                fleet.update(ident, (), "nothing is ready")
                await trio.sleep(self._random.uniform(0, 1))
                fleet.update(ident, (endpoint(self._random.choice(PODS)),))


@pytest.mark.parametrize("round_trip", [0.0, 0.05, 0.25])
async def test_forwards_are_stopped_and_edited_under_load(
    round_trip: float, nursery: trio.Nursery, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the round trip: nothing but what was cut breaks, all answer afterwards, and nothing is left open."""
    caplog.set_level(logging.INFO)
    random = Random(0)
    running = Running(nursery)
    running.pods.apps = dict.fromkeys(PODS, application)
    running.pods.round_trip = round_trip
    load = Load(running, random)
    editing = Editing(running, load, random)
    async with trio.open_nursery() as inner:
        await inner.start(running.fleet.run)
        for ident in FORWARDS:
            await editing.start(ident)
        async with trio.open_nursery() as clients:
            for ident in FORWARDS * CLIENTS:
                clients.start_soon(load.client, ident)
            for _ in range(EDITS):
                await trio.sleep(random.uniform(0, 0.3))
                await editing.step()
            load.over = True
        answered = load.fates["answered"]
        load.over = False
        async with trio.open_nursery() as clients:
            for ident in FORWARDS:
                clients.start_soon(load.client, ident)
            while load.fates["answered"] < answered + 20:  # noqa: ASYNC110 - of the mock clock
                await trio.sleep(0.05)
            load.over = True
        assert load.wrong == [], caplog.text
        assert load.fates["cut"] < load.fates["answered"]
        assert "a bug of portside's" not in caplog.text
        inner.cancel_scope.cancel()
    assert [peer for name in PODS for peer in running.pods.standing(name)] == []
    for port in load.ports.values():
        socket.create_server(("127.0.0.1", port)).close()
    nursery.cancel_scope.cancel()
