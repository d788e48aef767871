"""SPDY inside a WebSocket (KEP-4006): the upgrade by GET, and the channel for the tunnelled bytes.

`wire.websocket` has the frames. Kubernetes: client-go transport/websocket, apiserver pkg/util/proxy/streamtunnel.go.
"""

from __future__ import annotations

import trio
from wsproto.utilities import generate_accept_token, generate_nonce

from forwarders.errors import UpgradeError, WireError
from forwarders.transports.http import PROTOCOL, HttpResponse, UpgradeRequest, refusal, send_request
from forwarders.transports.sockets import Channel, Piece
from forwarders.wire.websocket import WebSocketStream

# A frame costs 20 µs, and one read can hold 100,000: after this many, other tasks run.
FRAMES_A_TURN = 64
SUBPROTOCOL = f"SPDY/3.1+{PROTOCOL}"


class WebSocketChannel:
    """A Channel inside another one. Both its tasks may send there: the receiver answers PINGs."""

    def __init__(self, channel: Channel, first: bytes) -> None:
        self._channel = channel
        self._first = first
        self._stream = WebSocketStream()
        self.flush, self.close = channel.flush, channel.close

    async def receive(self) -> bytes:
        """Receives bytes, b"" at the end. Raises ConnectionAbortedError (an OSError) for bytes that are no tunnel."""
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
            # A channel that always has data would let no other task run.
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


async def upgrade_to_websocket(channel: Channel, request: UpgradeRequest) -> tuple[Channel, bytes]:
    """Upgrades the channel to SPDY in a WebSocket; the new channel first returns the bytes after the response."""
    nonce = generate_nonce()
    headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", nonce.decode()),
        ("Sec-WebSocket-Protocol", SUBPROTOCOL),
    ]
    response = await send_request(channel, "GET", request.target, [*request.headers, *headers])
    if not response.switched:
        raise refusal(request.pod, response)
    if problem := _mismatch(response, nonce):
        raise UpgradeError(f"the API server does not tunnel SPDY in a WebSocket: {problem}", response.status)
    return WebSocketChannel(channel, response.rest), b""


def _mismatch(response: HttpResponse, nonce: bytes) -> str:
    """What is wrong with the response (RFC 6455, 4.1); "" if nothing is."""
    fields = response.headers
    if fields.get("upgrade", "").lower() != "websocket":
        return f"it upgraded to {fields.get('upgrade', 'nothing')!r}"
    if fields.get("sec-websocket-accept", "").encode("latin-1") != generate_accept_token(nonce):
        return "it did not accept our key"
    if fields.get("sec-websocket-protocol", "") != SUBPROTOCOL:
        return f"it speaks {fields.get('sec-websocket-protocol', 'no subprotocol')!r}"
    if "sec-websocket-extensions" in fields:
        return "it uses an extension that was not offered"
    return ""
