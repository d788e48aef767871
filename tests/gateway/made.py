"""A gateway before forwards to pods in memory: real local sockets, and the bytes that each pod got."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from random import Random

import h11
import trio
from msgspec.structs import replace

from forwarders.fleet import Fleet
from forwarders.gateway.gateway import Gateway
from forwarders.listeners import bind
from forwarders.spec import ForwardSpec, PortBook, PortPolicy, PortRequest
from forwarders.transports.api_server import ClusterRoute
from tests.forwarders.cluster import App, Pods, endpoint
from tests.forwarders.peer import PeerStream
from watcher.gateway_names import GatewayNames, GatewayRequest
from watcher.plan.verdicts import PlannedForward, ResourceRef

HOLD = 5.0


def get(host: str, path: str = "/", *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


def wanted(name: str, *called: int | str, namespace: str = "shop", kind: str = "service") -> PlannedForward:
    subject = ResourceRef(
        source="services",
        resource_type=kind,
        resource_name=name,
        namespace=namespace,
        container="",
        remote_port=called[0],
    )
    ident = f"{kind}/{namespace}/{name}/{called[0]}"
    spec = ForwardSpec(
        id=ident,
        address="127.0.0.1",
        port=PortRequest(PortPolicy.SYSTEM),
        group=ident,
        hold=HOLD,
        linger=1.0,
        patience=0.0,
    )
    return PlannedForward(
        id=ident,
        subject=subject,
        spec=spec,
        endpoints=(endpoint(name),),
        waiting_for="",
        broken="",
        because="",
        called=called,
    )


class Street:
    """`got`: the bytes that came to each pod. Each answers with its name, echoes after a 101, holds `/hold`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.pods = Pods(nursery)
        self.got: dict[str, bytearray] = {}
        self.fleet = Fleet({"": ClusterRoute(self.pods.open_channel)}.__getitem__, Random(0), lambda status: None)
        self.names = GatewayNames(GatewayRequest("127.0.0.1", 8000))
        self.gateway = Gateway(self.names, self.fleet.adopt, ("localhost", "dev.example"))
        self.port = 0

    async def start(self, forwards: Iterable[PlannedForward]) -> None:
        forwards = list(forwards)
        for one in forwards:
            name = one.subject.resource_name
            self.got[name] = bytearray()
            self.pods.apps[name] = self._app(name)
            await self.fleet.start(one.spec, one.endpoints, one.waiting_for)
        self.names.update(forwards)

    def _app(self, name: str) -> App:
        async def serve(stream: PeerStream) -> None:
            http, upgrade = h11.Connection(h11.SERVER), False
            while True:
                event = http.next_event()
                if isinstance(event, h11.Request):
                    upgrade = any(header == b"upgrade" for header, _ in event.headers)
                if event is h11.NEED_DATA:
                    http.receive_data(await self._read(name, stream))
                elif isinstance(event, h11.Request) and event.target == b"/hold":
                    await trio.sleep_forever()
                elif isinstance(event, h11.EndOfMessage) and upgrade:
                    await stream.send_all(_switch(http))
                    return await self._echo(name, stream, http.trailing_data[0])
                elif isinstance(event, h11.EndOfMessage):
                    await stream.send_all(_answer(http, name.encode()))
                    if http.our_state is h11.MUST_CLOSE:
                        return await stream.aclose()
                    http.start_next_cycle()
                elif isinstance(event, h11.ConnectionClosed):
                    return await stream.aclose()

        return serve

    async def _read(self, name: str, stream: PeerStream) -> bytes:
        data = await stream.receive_some()
        self.got[name] += data
        return data

    async def _echo(self, name: str, stream: PeerStream, data: bytes) -> None:
        while data := data or await self._read(name, stream):
            await stream.send_all(data)
            data = b""

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def ask(self, request: bytes) -> bytes:
        """All that one connection answers, until the gateway or the pod ends it."""
        async with await self.connect() as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(request)
            return await rest(stream)


def _switch(http: h11.Connection) -> bytes:
    return http.send(h11.InformationalResponse(status_code=101, headers=[("Upgrade", "websocket")])) or b""


def _answer(http: h11.Connection, body: bytes) -> bytes:
    head = h11.Response(status_code=200, headers=[("Content-Length", str(len(body)))])
    return b"".join(http.send(event) or b"" for event in (head, h11.Data(body), h11.EndOfMessage()))


async def rest(stream: trio.SocketStream) -> bytes:
    """What still comes until the other side ends the connection, well or by a reset."""
    data = b""
    with contextlib.suppress(trio.BrokenResourceError):
        async for piece in stream:
            data += piece
    return data


@asynccontextmanager
async def street(*forwards: PlannedForward) -> AsyncIterator[Street]:
    """A gateway that listens, and these forwards."""
    async with trio.open_nursery() as nursery:
        made = Street(nursery)
        await nursery.start(made.fleet.run)
        await made.start(forwards)
        bound = await bind(
            ForwardSpec(id="gateway", address="127.0.0.1", port=PortRequest(PortPolicy.SYSTEM), group="gateway"),
            PortBook(),
        )
        made.port = bound.port
        nursery.start_soon(made.gateway.run, bound)
        yield made
        nursery.cancel_scope.cancel()


def nobody(one: PlannedForward, waiting_for: str, hold: float = HOLD) -> PlannedForward:
    """The same without a pod."""
    return replace(one, endpoints=(), waiting_for=waiting_for, spec=replace(one.spec, hold=hold))


def pair() -> tuple[trio.SocketStream, socket.socket]:
    """A client's end, and what the gateway accepted."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    return trio.SocketStream(trio.socket.from_stdlib_socket(ours)), theirs
