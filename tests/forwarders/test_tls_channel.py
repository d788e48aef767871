"""How a TLS channel ends: with a close_notify, as Go's servers close, and without one; once and for all."""

from __future__ import annotations

import socket
import ssl

import pytest
import trio

from fixtures.embedded import certificates
from forwarders.transports.sockets import RawSocket, start_tls

WORDS = b"last words"


@pytest.mark.parametrize("close", ["politely", "at once"])
async def test_the_end_comes_after_the_data_and_again_at_every_call(close: str) -> None:
    """What was sent before it arrives first; after it there is nothing to wait for."""
    made = certificates.make("admin")
    ours, theirs = socket.socketpair()

    async def serve() -> None:
        plain = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        server = trio.SSLStream(plain, certificates.server_context(made), server_side=True)
        await server.send_all(WORDS)
        await (server if close == "politely" else plain).aclose()

    context = ssl.create_default_context(cadata=made.authority.decode())
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            channel = await start_tls(RawSocket(ours), context, "localhost")
            assert await channel.receive() == WORDS
            assert [await channel.receive() for _ in range(3)] == [b"", b"", b""]
            channel.close()


async def test_what_the_socket_has_no_room_for_is_kept_in_its_order() -> None:
    """`put` never waits and never loses: it says when something is left, which `flush` sends before anything else."""
    made = certificates.make("admin")
    ours, theirs = socket.socketpair()
    context = ssl.create_default_context(cadata=made.authority.decode())
    pieces = [bytes([number]) * 100_000 for number in range(20)]
    got = b""
    server = trio.SSLStream(
        trio.SocketStream(trio.socket.from_stdlib_socket(theirs)), certificates.server_context(made), server_side=True
    )
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.do_handshake)
            channel = await start_tls(RawSocket(ours), context, "localhost")
        taken = [channel.put(piece) for piece in pieces]
        assert taken[-1] is False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.flush)
            while len(got) < sum(map(len, pieces)):
                got += await server.receive_some()
        assert channel.put(b"more")
        assert await server.receive_some() == b"more"
    assert got == b"".join(pieces)
    channel.close()
    await trio.aclose_forcefully(server)
