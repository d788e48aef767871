"""Owns one byte stream inside the binary messages of a WebSocket, by wsproto: their boundaries mean nothing.

Refuses the handshake, and what the bytes mean. Entry point for a fuzzer: `WebSocketStream().receive_data(data)`, which
raises RemoteProtocolError and nothing else. Kubernetes: client-go
tools/portforward/tunneling_connection.go.
"""

from __future__ import annotations

import sys

from wsproto import connection, events
from wsproto.frame_protocol import CloseReason

from forwarders.errors import LocalProtocolError, RemoteProtocolError

# Masking is two times faster while a message stays in the processor's cache; the peer copies by 32 KiB too.
MESSAGE_SIZE = 32 * 1024
# A close that says: all is well, the stream is at its end (RFC 6455, 7.4.1). 1005: it gave no code at all.
_GOOD = {CloseReason.NORMAL_CLOSURE, CloseReason.NO_STATUS_RCVD}


class WebSocketStream:
    """The client's side after the handshake. Buffers a frame's head, or a control frame, at most."""

    def __init__(self) -> None:
        self._socket = connection.Connection(connection.ConnectionType.CLIENT)
        self._replies = b""
        self._failure = ""
        self.ended = False
        self.more = False

    def receive_data(self, data: bytes, most: int = sys.maxsize) -> bytes:
        """The stream's next bytes, b"" where there are none yet or, once `ended`, no more.

        From at most `most` frames; while there is `more`, receive b"" for what the next ones hold.

        Raises RemoteProtocolError for what is no WebSocket, a text message, and a close that is no good end; from then
        on always. PINGs and the peer's close leave an answer in `take`.
        """
        if self._failure:
            raise RemoteProtocolError(self._failure)
        if self.ended:
            return b""
        # What is no WebSocket is told by a CloseConnection too, with the code that it would be answered with.
        self.more = False
        if data:
            self._socket.receive_data(data)
        pieces: list[bytes | bytearray] = []
        for event in self._socket.events():
            pieces.append(self._handled(event))
            if len(pieces) >= most:
                self.more = True
                break
        return b"".join(pieces)

    def take(self) -> bytes:
        """What must be sent in answer to what came."""
        replies, self._replies = self._replies, b""
        return replies

    def frame(self, data: bytes) -> bytes:
        """`data` as masked messages. Raises LocalProtocolError after the peer's close."""
        if self.ended:
            raise LocalProtocolError("the other side has closed the WebSocket")
        view = memoryview(data)
        pieces = (bytes(view[start : start + MESSAGE_SIZE]) for start in range(0, len(view), MESSAGE_SIZE))
        return b"".join([self._socket.send(events.BytesMessage(piece)) for piece in pieces])

    def _handled(self, event: events.Event) -> bytes | bytearray:
        match event:
            case events.BytesMessage():
                return event.data
            case events.Ping():
                self._replies += self._socket.send(event.response())
            case events.CloseConnection():
                self._replies += self._socket.send(event.response())
                self.ended = True
                if event.code not in _GOOD:
                    self._fail(f"the other side closed the WebSocket with code {int(event.code)}: {event.reason!r}")
            case events.TextMessage():
                self._fail("a text message came: a tunnel has binary ones only")
            case _:
                pass  # a PONG that nobody asked for
        return b""

    def _fail(self, problem: str) -> None:
        self._failure = problem
        raise RemoteProtocolError(problem)
