"""A session that runs against a peer in memory."""

from __future__ import annotations

import trio
import trio.testing

from forwarders.errors import SessionLostError
from forwarders.session import Session
from forwarders.session_io import SessionEvent
from forwarders.tunnel import Tunnel
from tests.forwarders.peer import Peer, PeerStream
from tests.forwarders.streams import receive_pieces


class Sides:
    """A running session with its peer; `lost` is set with the reason when it ends badly, `ended` in any case."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.peer = Peer()
        self.changes = 0
        self.session = Session(self.peer.channel(), b"", self._changed)
        self.ended = trio.Event()
        self.lost = ""
        nursery.start_soon(self._run)

    def _changed(self, session: Session, event: SessionEvent) -> None:
        self.changes += 1

    async def _run(self) -> None:
        try:
            await self.session.run()
        except SessionLostError as error:
            self.lost = str(error)
        self.ended.set()

    async def connect(self, port: int = 80) -> tuple[Tunnel, PeerStream]:
        tunnel = self.session.open(port)
        return tunnel, await self.peer.accept()


async def everything(tunnel: Tunnel) -> bytes:
    """Until the good end."""
    data = b""
    while pieces := await receive_pieces(tunnel):
        data += b"".join(pieces)
    return data
