"""A byte stream inside the binary messages of a WebSocket, by wsproto; message boundaries have no meaning.

The handshake is in `transports.websocket_channel`. Kubernetes: client-go tools/portforward/tunneling_connection.go.
"""

from __future__ import annotations

import sys

from wsproto import connection, events
from wsproto.frame_protocol import CloseReason

from forwarders.errors import LocalProtocolError, RemoteProtocolError

# Masking is twice as fast while a message fits the processor's cache; the peer copies by 32 KiB too.
MESSAGE_SIZE = 32 * 1024
# Codes of a normal end (RFC 6455, 7.4.1). 1005 stands for a close without a code.
_NORMAL = {CloseReason.NORMAL_CLOSURE, CloseReason.NO_STATUS_RCVD}


class WebSocketStream:
    """The client's side after the handshake. Buffers at most a frame's head or a control frame."""

    def __init__(self) -> None:
        self._socket = connection.Connection(connection.ConnectionType.CLIENT)
        self._replies = b""
        self._failure = ""
        self.ended = False
        self.more = False

    def receive_data(self, data: bytes, most: int = sys.maxsize) -> bytes:
        """Returns the stream's next bytes, b"" if there are none yet or, once `ended`, no more.

        Reads at most `most` frames; while there is `more`, call it with b"". PINGs and the peer's close leave an answer
        in `take`. Raises RemoteProtocolError for bytes that are not a WebSocket, a text message and an abnormal close,
        and in every later call; nothing else.
        """
        if self._failure:
            raise RemoteProtocolError(self._failure)
        if self.ended:
            return b""
        # wsproto reports invalid bytes as a CloseConnection too, with the code of the answer.
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
        """Takes the bytes to send as answers."""
        replies, self._replies = self._replies, b""
        return replies

    def frame(self, data: bytes) -> bytes:
        """Encodes `data` as masked messages. Raises LocalProtocolError after the peer's close."""
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
                if event.code not in _NORMAL:
                    self._fail(f"the other side closed the WebSocket with code {int(event.code)}: {event.reason!r}")
            case events.TextMessage():
                self._fail("received a text message: a tunnel has only binary ones")
            case _:
                pass  # a PONG without a PING
        return b""

    def _fail(self, problem: str) -> None:
        self._failure = problem
        raise RemoteProtocolError(problem)
