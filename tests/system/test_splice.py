"""Bytes moved by the kernel: every one arrives, in order; an end, a reset and a target that is gone are told apart."""

from __future__ import annotations

import hashlib
import random
import socket

import pytest
import trio

from forwarders.system.splice import CAN_SPLICE, PIPE_SIZE, TargetBrokenError, splice
from tests.support.sockets import reset

pytestmark = pytest.mark.skipif(not CAN_SPLICE, reason="this system has no splice(2)")


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        client.settimeout(0)
        accepted.settimeout(0)
        return client, accepted


async def test_every_byte_arrives_in_order() -> None:
    """More than the pipe and all buffers hold, to a reader that takes its time."""
    data = random.Random(0).randbytes(3 * PIPE_SIZE + 17)
    source, feed = connected()
    target, reader = connected()
    moved: list[int] = []
    digest, size = hashlib.sha256(), 0
    with source, feed, target, reader, trio.fail_after(60):
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                stream = trio.SocketStream(trio.socket.from_stdlib_socket(feed.dup()))
                await stream.send_all(data)
                await stream.aclose()
                feed.close()

            async def move() -> None:
                await splice(source, target, moved.append)
                target.shutdown(socket.SHUT_WR)

            nursery.start_soon(send)
            nursery.start_soon(move)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(reader.dup()))
            while piece := await stream.receive_some(100_000):
                digest.update(piece)
                size += len(piece)
            await stream.aclose()
    assert (size, sum(moved), digest.digest()) == (len(data), len(data), hashlib.sha256(data).digest())


async def test_a_reset_is_an_error_of_the_source() -> None:
    """What was moved may be short."""
    source, feed = connected()
    target, reader = connected()
    with source, target, reader, trio.fail_after(60):
        reset(feed)
        with pytest.raises(ConnectionResetError):
            await splice(source, target, lambda count: None)


async def test_a_target_that_is_gone() -> None:
    """Nobody takes the bytes: that is not the source's fault."""
    source, feed = connected()
    target, reader = connected()
    with source, feed, target, trio.fail_after(60):
        reset(reader)
        await trio.lowlevel.wait_readable(target)
        feed.send(b"to nobody")
        with pytest.raises(TargetBrokenError) as raised:
            await splice(source, target, lambda count: None)
    assert isinstance(raised.value.__cause__, OSError)
