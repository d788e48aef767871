"""What a tunnel received on its way to a local socket that cannot take it: the failure is that connection's alone."""

from __future__ import annotations

import contextlib
import socket

import pytest
import trio

from forwarders.delivery import Delivery
from forwarders.session import Session
from forwarders.tasks import Tasks
from forwarders.transports.sockets import Piece, RawSocket
from forwarders.writer import SessionLostError
from tests.forwarders.peer import Peer


class Gone(RawSocket):
    """The system refuses to write to it."""

    def send_pieces_now(self, pieces: list[Piece]) -> list[Piece]:
        raise BrokenPipeError(len(pieces))


class Odd(RawSocket):
    """Our own code fails at it."""

    def passes(self, pieces: list[Piece]) -> None:
        raise RuntimeError(len(pieces))


@pytest.mark.parametrize(("kind", "error"), [(Gone, BrokenPipeError), (Odd, RuntimeError)])
async def test_a_failure_ends_one_connection(nursery: trio.Nursery, kind: type[RawSocket], error: type) -> None:
    """It is kept for the connection's own task; the session, in whose turn it happened, serves the next one."""
    peer = Peer()
    session = Session(peer.channel(), b"", lambda: None, lambda _: None)

    async def run() -> None:
        with contextlib.suppress(SessionLostError):
            await session.run()

    nursery.start_soon(run)
    tunnel = session.open(80)
    stream = await peer.accept()
    ours, theirs = socket.socketpair()
    with ours, theirs, trio.fail_after(20):
        async with trio.open_nursery() as connection:
            delivery = Delivery(tunnel, kind(ours), Tasks(connection), lambda: None)
            delivery.begin()
            await stream.send_all(b"to nobody")
            await trio.Event().wait()
    assert isinstance(delivery.failure, error)
    other = session.open(80)
    await (await peer.accept()).send_all(b"to somebody")
    assert await other.receive_pieces() == [b"to somebody"]
    nursery.cancel_scope.cancel()
