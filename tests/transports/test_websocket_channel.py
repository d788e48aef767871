"""The channel inside a WebSocket, on memory streams: to a session it is a channel like any other."""

from __future__ import annotations

import base64
import hashlib

import pytest
import trio
from trio.testing import memory_stream_pair

from fixtures.embedded.websocket import TunnelStream
from forwarders.errors import BrokenOffError, UpgradeError
from forwarders.transports.opener import Transport, open_by
from forwarders.transports.sockets import Channel, SocketChannel
from forwarders.transports.websocket_channel import FRAMES_A_TURN, WebSocketChannel
from tests.transports.net import POD, Handler, MemorySocket, Net, head, server

ACCEPT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 4.2.2
SUBPROTOCOL = "SPDY/3.1+portforward.k8s.io"


def channel(stream: trio.abc.Stream, first: bytes = b"") -> WebSocketChannel:
    return WebSocketChannel(SocketChannel(MemorySocket(stream)), first)


async def test_bytes_go_both_ways() -> None:
    """Large and small ones, whole, with gorilla's fragments."""
    ours, theirs = memory_stream_pair()
    ws, peer = channel(ours), TunnelStream(theirs)
    data = bytes(range(256)) * 2000
    received = b""

    async def send() -> None:
        await ws.send(data)
        await ws.send(b"end")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while not received.endswith(b"end"):
            received += await peer.receive_some()
    assert received == data + b"end"
    received = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.send_all, data)
        while len(received) < len(data):
            received += await ws.receive()
    assert received == data


async def test_what_came_behind_the_upgrade_comes_first() -> None:
    """The server may speak in the same packet as its 101."""
    collected, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(TunnelStream(theirs).send_all, b"first")
        frames = bytes(await collected.receive_some())
    ours, _ = memory_stream_pair()
    assert await channel(ours, frames).receive() == b"first"


async def test_a_ping_is_answered_while_nothing_is_sent() -> None:
    """Proxies ask whether we live; data goes on behind it."""
    ours, theirs = memory_stream_pair()
    ws, peer = channel(ours), TunnelStream(theirs)
    await peer.ping()
    await peer.send_all(b"data")
    assert await ws.receive() == b"data"
    assert bytes(await theirs.receive_some())[0] == 0x8A  # a final PONG


async def test_close_1000_is_the_end() -> None:
    """b"" again and again, and no more sending."""
    ours, theirs = memory_stream_pair()
    ws, peer = channel(ours), TunnelStream(theirs)
    await peer.send_all(b"last")
    await peer.end()
    assert await ws.receive() == b"last"
    assert await ws.receive() == b""
    assert await ws.receive() == b""
    with pytest.raises(OSError, match="has closed the WebSocket"):
        await ws.send(b"x")


async def test_a_cut_connection_is_the_end() -> None:
    """As on a plain channel: the session knows what to make of it."""
    ours, theirs = memory_stream_pair()
    await theirs.aclose()
    assert await channel(ours).receive() == b""


@pytest.mark.parametrize("frames", [b"\x81\x05hello", b"\x88\x02\x03\xf3", b"\xff\xff"], ids=["text", "1011", "noise"])
async def test_what_is_no_tunnel_is_an_oserror(frames: bytes) -> None:
    """The one kind of error that a channel's users expect."""
    ours, theirs = memory_stream_pair()
    await theirs.send_all(frames)
    with pytest.raises(OSError, match=r"WebSocket|text message"):
        await channel(ours).receive()


class Flood:
    """A channel that always has something at once: empty messages, and the end after a thousand reads."""

    def __init__(self) -> None:
        self.left = 1000

    async def receive(self) -> bytes:
        self.left -= 1
        return b"\x82\x00" if self.left else b""

    async def send(self, data: object) -> None:
        raise AssertionError("nothing is sent here")

    def put(self, data: object) -> bool:
        raise AssertionError("nothing is sent here")

    async def flush(self) -> None:
        raise AssertionError("nothing is sent here")

    def close(self) -> None:
        raise AssertionError("nothing is closed here")


async def test_a_flood_of_empty_messages_starves_nobody() -> None:
    """A channel that always has something, and never a byte for us, lets other tasks run."""
    flood: Channel = Flood()
    ends = []

    async def read() -> None:
        assert await WebSocketChannel(flood, b"").receive() == b""
        ends.append("flood")

    async def other() -> None:
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        ends.append("other")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(other)
    assert ends == ["other", "flood"]


# The handshake


def websocket_server(accept: str = "", **changed: str) -> Handler:
    """Answers 101 as the API server does, but for what is changed ("": left out)."""

    async def serve(stream: trio.abc.Stream) -> None:
        request = await head(stream)
        headers = dict(request.headers)
        digest = hashlib.sha1(headers[b"sec-websocket-key"] + ACCEPT.encode(), usedforsecurity=False).digest()
        said = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": accept or base64.b64encode(digest).decode(),
            "Sec-WebSocket-Protocol": SUBPROTOCOL,
        }
        said |= {name.replace("_", "-"): value for name, value in changed.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in said.items() if value)
        await stream.send_all(f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode() + b"\x82\x02hi")
        await trio.sleep_forever()

    return serve


async def test_the_handshake(net: Net) -> None:
    """GET with the subprotocol and a key of 16 bytes; the first message may come with the answer."""
    net.handlers["api.test", 6443] = websocket_server()
    ws, first = await open_by(Transport.WEBSOCKET, server(), POD)
    assert first == b""
    assert await ws.receive() == b"hi"


@pytest.mark.parametrize(
    "changed",
    [
        {"Sec_WebSocket_Protocol": ""},
        {"Sec_WebSocket_Protocol": "v4.channel.k8s.io"},
        {"accept": "bm9uc2Vuc2U="},
        {"Sec_WebSocket_Extensions": "permessage-deflate"},
        {"Upgrade": "h2c"},
    ],
    ids=str,
)
async def test_a_handshake_that_does_not_fit(net: Net, changed: dict[str, str]) -> None:
    """Another subprotocol, another key, an extension: no tunnel, and the connection is closed."""
    net.handlers["api.test", 6443] = websocket_server(**changed)
    with pytest.raises(UpgradeError, match="does not tunnel SPDY"):
        await open_by(Transport.WEBSOCKET, server(), POD)
    assert net.left_open == 0


async def test_each_handshake_has_its_own_key(net: Net) -> None:
    """RFC 6455, 4.1: chosen at random for each connection."""
    keys = []

    async def note(stream: trio.abc.Stream) -> None:
        keys.append(dict((await head(stream)).headers)[b"sec-websocket-key"])
        await stream.aclose()

    net.handlers["api.test", 6443] = note
    for _ in range(3):
        with pytest.raises(BrokenOffError):
            await open_by(Transport.WEBSOCKET, server(), POD)
    assert len(set(keys)) == 3
    assert all(len(base64.b64decode(key)) == 16 for key in keys)


async def test_a_flood_of_small_frames_keeps_nobody_waiting(nursery: trio.Nursery) -> None:
    """Empty messages and PINGs, a read full of each: other tasks have a turn every FRAMES_A_TURN."""
    ours, theirs = memory_stream_pair()
    ws, turns = channel(ours), 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    await theirs.send_all(b"\x82\x00" * 3000 + b"\x89\x00" * 3000 + b"\x82\x01!")
    nursery.start_soon(take_turns)
    with trio.fail_after(60):
        assert await ws.receive() == b"!"
    assert turns >= 6000 // FRAMES_A_TURN
    nursery.cancel_scope.cancel()
