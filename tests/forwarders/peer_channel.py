"""The client's end of the connection to a Peer: what a session reads and writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:  # a Peer makes its channels
    from tests.forwarders.peer import Peer


class PeerChannel:
    """The client's end of the connection."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._closed = False
        self._left = b""

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        peer = self._peer
        while not peer.to_client:
            self._check()
            if peer.closed:
                return b""
            await peer.changed.wait()
        self._check()
        data = bytes(peer.to_client)
        peer.to_client.clear()
        peer.changed.fire()
        return data

    def put(self, data: bytes | memoryview) -> bool:
        self._check()
        self._left += data
        if self._peer.reading:
            self._hand_over()
        return not self._left

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self._peer.reading:
            self._check()
            await self._peer.changed.wait()
        self._check()
        self._hand_over()

    async def send(self, data: bytes | memoryview) -> None:
        if not self.put(data):
            await self.flush()

    def _hand_over(self) -> None:
        data, self._left = self._left, b""
        self._peer.receive(data)

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        if self._peer.failure is not None:
            raise self._peer.failure

    def close(self) -> None:
        self._closed = True
        self._peer.closed = True
        self._peer.changed.fire()
