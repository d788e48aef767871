"""Pods in memory: each opened session is a Peer, opening can fail or take its time, applications answer."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import trio

from forwarders.errors import RefusedError, UnreachableError
from forwarders.spec import Endpoint, ForwardSpec, PodRef, PortPolicy, PortRequest
from forwarders.transports.sockets import Channel
from tests.forwarders.far import FarChannel
from tests.forwarders.peer import Peer, PeerStream

App = Callable[[PeerStream], Awaitable[None]]

SPEC = ForwardSpec(
    id="one",
    address="127.0.0.1",
    port=PortRequest(PortPolicy.SYSTEM),
    group="one",
    hold=5.0,
    max_waiting=2048,
    linger=1.0,
    patience=0.0,
)


def pod(name: str) -> PodRef:
    return PodRef("default", name, f"uid-{name}")


def endpoint(name: str, *, ready: bool = True, port: int = 80, outdated: bool = False) -> Endpoint:
    return Endpoint(pod(name), port, ready, outdated=outdated)


class Pods:
    """`open_channel` for a Pools or Fleet. `opens` has the moments of all tries, `peers` the sessions by pod."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.opens: list[float] = []
        self.latency = 0.014
        self.failure = ""
        self.refusing = False
        self.peers: dict[str, list[Peer]] = {}
        self.apps: dict[str, App] = {}
        self.short_lived = False
        self.polite = False  # each session says GOAWAY at once, and stays
        self.round_trip = 0.0
        self.payloads: list[bytes] = []  # of all sessions, in the order in which they came

    async def open_channel(self, pod: PodRef) -> tuple[Channel, bytes]:
        self.opens.append(trio.current_time())
        await trio.sleep(self.latency)
        if self.refusing:
            raise RefusedError("no such pod", 404)
        if self.failure:
            raise UnreachableError(self.failure)
        peer = Peer()
        peer.payloads = self.payloads
        self.peers.setdefault(pod.name, []).append(peer)
        if self.short_lived:
            peer.close()
        if self.polite:
            peer.wire.go_away()
            peer.flush()
        if pod.name in self.apps:
            self._nursery.start_soon(self._serve, pod.name, peer)
        if self.round_trip:
            return FarChannel(peer.channel(), self.round_trip / 2, self._nursery), b""
        return peer.channel(), b""

    def standing(self, name: str) -> list[Peer]:
        """Sessions to this pod that are not over."""
        return [peer for peer in self.peers.get(name, []) if not peer.closed]

    async def _serve(self, name: str, peer: Peer) -> None:
        while True:
            self._nursery.start_soon(self._answer, name, await peer.accept())

    async def _answer(self, name: str, stream: PeerStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.apps[name](stream)


def greeter(name: str) -> App:
    """An application that says its name and closes."""

    async def serve(stream: PeerStream) -> None:
        await stream.send_all(name.encode())
        await stream.aclose()

    return serve


async def refusing(stream: PeerStream) -> None:
    """Nothing listens on the port."""
    stream.refuse()
