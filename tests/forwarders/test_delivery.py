"""What a tunnel received on its way to a local socket that cannot take it: the failure is that connection's alone."""

from __future__ import annotations

import contextlib
import socket

import pytest
import trio
import trio.testing

from forwarders.errors import SessionLostError
from forwarders.session import Session
from forwarders.tasks import Tasks
from forwarders.transports.sockets import Piece, RawSocket
from forwarders.tunnel import Tunnel
from tests.forwarders.peer import Peer
from tests.forwarders.streams import receive_pieces


class Gone(RawSocket):
    """The system refuses to write to it."""

    def send_pieces_now(self, pieces: list[Piece]) -> list[Piece]:
        raise BrokenPipeError(len(pieces))


class Odd(RawSocket):
    """Our own code fails at it."""

    def before_send(self, pieces: list[Piece]) -> None:
        raise RuntimeError(len(pieces))


@pytest.mark.parametrize(("kind", "error"), [(Gone, BrokenPipeError), (Odd, RuntimeError)])
async def test_a_failure_ends_one_connection(nursery: trio.Nursery, kind: type[RawSocket], error: type) -> None:
    """It is kept for the connection's own task; the session, in whose turn it happened, serves the next one."""
    peer = Peer()
    session = Session(peer.channel(), b"", lambda session, event: None)

    async def run() -> None:
        with contextlib.suppress(SessionLostError):
            await session.run()

    nursery.start_soon(run)
    tunnel = session.open(80)
    stream = await peer.accept()
    ours, theirs = socket.socketpair()
    with ours, theirs, trio.fail_after(60):
        async with trio.open_nursery() as connection:
            tunnel.copy_to(kind(ours), Tasks(connection), lambda: None)
            await stream.send_all(b"to nobody")
            await trio.Event().wait()
    assert isinstance(tunnel.failure, error)
    other = session.open(80)
    await (await peer.accept()).send_all(b"to somebody")
    assert await receive_pieces(other) == [b"to somebody"]
    nursery.cancel_scope.cancel()


async def test_bytes_for_a_connection_that_has_just_ended(nursery: trio.Nursery) -> None:
    """They come in the session's turn when the connection's nursery has closed: the session serves the next one."""
    peer = Peer()
    session = Session(peer.channel(), b"", lambda session, event: None)
    nursery.start_soon(session.run)
    tunnel = session.open(80)
    stream = await peer.accept()
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    with ours, theirs, trio.fail_after(60):
        async with trio.open_nursery() as connection:
            with Tasks(connection) as tasks:
                tunnel.copy_to(RawSocket(ours), tasks, lambda: None)
        await stream.send_all(bytes(256 * 1024))
        other = session.open(80)
        await (await peer.accept()).send_all(b"to somebody")
        assert await receive_pieces(other) == [b"to somebody"]
    nursery.cancel_scope.cancel()


class Given(Tunnel):
    """A tunnel without a session."""

    def __init__(self) -> None:
        super().__init__(Nowhere(), 0)


class Nowhere:
    """A session that nothing is asked of."""

    async def wait_room(self, pair: int) -> None: ...
    async def send(self, pair: int, data: Piece) -> None: ...
    def send_eof(self, pair: int) -> None: ...
    def abort(self, pair: int) -> None: ...
    async def confirm(self, pair: int) -> bool:
        return False


@pytest.mark.parametrize("late", ["more", "the end", "more and the end"])
async def test_what_comes_while_a_slow_client_catches_up(nursery: trio.Nursery, late: str) -> None:
    """It is delivered behind what was there, and the end ends the connection."""
    tunnel = Given()
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    client = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    first, more = b"a" * 300_000, b"b" * 300_000 if "more" in late else b""
    got = bytearray()

    async def read() -> None:
        while len(got) < len(first) + len(more):
            got.extend(await client.receive_some())
        if "end" not in late:
            tunnel.finish(None)

    with ours, trio.fail_after(60):
        async with trio.open_nursery() as connection:
            with Tasks(connection) as tasks:
                tunnel.copy_to(RawSocket(ours), tasks, lambda: None)
                tunnel.feed(first)
                tunnel.announce()
                await trio.testing.wait_all_tasks_blocked()
                if more:
                    tunnel.feed(more)
                    tunnel.announce()
                if "end" in late:
                    tunnel.finish(None)
                nursery.start_soon(read)
                await trio.Event().wait()
    assert bytes(got) == first + more
    await client.aclose()
