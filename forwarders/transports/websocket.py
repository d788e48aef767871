"""Owns SPDY inside a WebSocket: the upgrade by GET, and the channel that the tunnelled bytes go through (KEP-4006).

Refuses frames (`wire.websocket`) and what is spoken inside. Kubernetes: client-go transport/websocket, apiserver
pkg/util/proxy/streamtunnel.go.
"""

from __future__ import annotations

import trio
from wsproto.utilities import generate_accept_token, generate_nonce

from forwarders.errors import UpgradeError, WireError
from forwarders.transports.channel import Channel
from forwarders.transports.http import Answer, ask
from forwarders.transports.refusals import refusal
from forwarders.transports.request import PROTOCOL, Request
from forwarders.transports.sockets import Piece
from forwarders.wire.websocket import WebSocketStream

# A frame costs 20 µs, and one read can hold 100,000: after so many others have a turn.
FRAMES_A_TURN = 64
SUBPROTOCOL = f"SPDY/3.1+{PROTOCOL}"


class WebSocketChannel:
    """A Channel inside another one. Both its tasks may send there: the receiver answers PINGs."""

    def __init__(self, channel: Channel, first: bytes) -> None:
        self._channel = channel
        self._first = first
        self._stream = WebSocketStream()
        self.flush = channel.flush

    async def receive(self) -> bytes:
        """What has come, b"" at the end. Raises ConnectionAbortedError (an OSError) for what is no tunnel."""
        while not self._stream.ended:
            data = b""
            if self._stream.more:
                await trio.lowlevel.checkpoint()
            else:
                data, self._first = self._first or await self._channel.receive(), b""
                if not data:
                    break
            try:
                plain = self._stream.receive_data(data, FRAMES_A_TURN)
            except WireError as error:
                raise ConnectionAbortedError(str(error)) from error
            if reply := self._stream.take():
                await self._channel.send(reply)
            if plain:
                return plain
            # A channel that always has something gives no other task a turn by itself.
            await trio.lowlevel.checkpoint()
        return b""

    async def send(self, data: Piece) -> None:
        await self._channel.send(self._frames(data))

    def put(self, data: Piece) -> bool:
        return self._channel.put(self._frames(data))

    def _frames(self, data: Piece) -> bytes:
        try:
            return self._stream.frame(bytes(data))
        except WireError as error:
            raise ConnectionAbortedError(str(error)) from error

    def close(self) -> None:
        self._channel.close()


async def upgrade(channel: Channel, request: Request) -> tuple[Channel, bytes]:
    """As `spdy.upgrade`; what came behind the upgrade is the new channel's first to give."""
    nonce = generate_nonce()
    headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", nonce.decode()),
        ("Sec-WebSocket-Protocol", SUBPROTOCOL),
    ]
    answer = await ask(channel, "GET", request.target, [*request.headers, *headers])
    if not answer.switched:
        raise refusal(request.pod, answer)
    if problem := _mismatch(answer, nonce):
        raise UpgradeError(f"the API server does not tunnel SPDY in a WebSocket: {problem}", answer.status)
    return WebSocketChannel(channel, answer.rest), b""


def _mismatch(answer: Answer, nonce: bytes) -> str:
    """RFC 6455, 4.1; "" where all is well."""
    said = answer.headers
    if said.get("upgrade", "").lower() != "websocket":
        return f"it upgraded to {said.get('upgrade', 'nothing')!r}"
    if said.get("sec-websocket-accept", "").encode("latin-1") != generate_accept_token(nonce):
        return "it did not accept our key"
    if said.get("sec-websocket-protocol", "") != SUBPROTOCOL:
        return f"it speaks {said.get('sec-websocket-protocol', 'no subprotocol')!r}"
    if "sec-websocket-extensions" in said:
        return "it uses an extension that was not offered"
    return ""
