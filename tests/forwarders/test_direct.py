"""Connections to a container's own address: bytes both ways, a refusal that may be tried again, both kinds of end."""

from __future__ import annotations

import errno
import math
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime
from typing import NamedTuple, cast

import pytest
import trio

from fixtures.net.way import reset
from forwarders.errors import DialError, TunnelError
from forwarders.holding import HeldDial
from forwarders.relay import Relay
from forwarders.spec import Counts, Endpoint, PodRef
from forwarders.system import splice as module
from forwarders.system.splice import CAN_SPLICE
from forwarders.system.tcp import SocketWatcher
from forwarders.tasks import Tasks
from forwarders.transports.direct import SPLICE_AFTER, DirectTunnel, DirectUpstream
from forwarders.transports.sockets import RawSocket
from tests.forwarders.dialler import Dialler

HERE = "127.0.0.1"


def at(port: int) -> Endpoint:
    return Endpoint(PodRef("", "box", "id", HERE), port, ready=True)


async def serving(nursery: trio.Nursery, stream_of: trio.MemorySendChannel[trio.SocketStream]) -> int:
    """A port whose accepted connections come out of the channel."""

    async def handle(stream: trio.SocketStream) -> None:
        await stream_of.send(stream)
        await trio.sleep_forever()

    listeners = await nursery.start(trio.serve_tcp, handle, 0)
    port: int = listeners[0].socket.getsockname()[1]
    return port


class NoWatcher(SocketWatcher):
    """As on systems without epoll: a task reads each connection."""

    def watch_readable(self, _sock: socket.socket, _on_readable: Callable[[], None]) -> bool:
        return False


@pytest.fixture(params=[SocketWatcher, NoWatcher], ids=["watched", "task"])
def watcher(nursery: trio.Nursery, request: pytest.FixtureRequest) -> Iterator[SocketWatcher]:
    made: SocketWatcher = request.param()
    nursery.start_soon(made.run)
    yield made
    made.close()


@pytest.fixture
async def pair(
    nursery: trio.Nursery, watcher: SocketWatcher
) -> tuple[DirectTunnel, trio.MemoryReceiveChannel[trio.SocketStream]]:
    send, receive = trio.open_memory_channel[trio.SocketStream](1)
    return DirectUpstream(HERE, watcher).open(at(await serving(nursery, send))), receive


Pair = tuple[DirectTunnel, trio.MemoryReceiveChannel[trio.SocketStream]]


async def received(tunnel: DirectTunnel) -> bytes:
    """All that comes until the end. Raises what the end was, where it was no good one."""
    ours, theirs = socket.socketpair()
    data = b""
    async with trio.open_nursery() as nursery:
        with Tasks(nursery) as tasks:
            tunnel.copy_to(RawSocket(ours), tasks, lambda: None)
            await tunnel.wait_finished()
            tasks.cancel()
    ours.close()
    client = RawSocket(theirs)
    while piece := await client.receive():
        data += piece
    client.close()
    if tunnel.error is not None:
        raise tunnel.error
    return data


async def test_bytes_go_both_ways_and_ends_are_passed_on(pair: Pair) -> None:
    """Our FIN reaches the container while its answer is still to come."""
    tunnel, accepted = pair
    with trio.fail_after(60):
        await tunnel.write(b"question")
        far = await accepted.receive()
        tunnel.end()
        assert await far.receive_some() == b"question"
        assert await far.receive_some() == b""
        await far.send_all(b"answer")
        assert await tunnel.confirm()
        await far.aclose()
        assert await received(tunnel) == b"answer"
        await tunnel.wait_finished()
    assert (tunnel.finished, tunnel.received) == (True, 6)
    tunnel.abort()


async def test_an_end_before_the_connection_is_not_lost(pair: Pair) -> None:
    """A client that connects and closes."""
    tunnel, accepted = pair
    with trio.fail_after(60):
        tunnel.end()
        assert await tunnel.confirm()
        assert await (await accepted.receive()).receive_some() == b""
    tunnel.abort()


async def test_a_refusal_is_a_failed_dial(watcher: SocketWatcher) -> None:
    """The first call that needs the connection gets a DialError, and every later one too; no byte was sent."""
    with socket.socket() as sock:
        sock.bind((HERE, 0))
        port = sock.getsockname()[1]
        tunnel = DirectUpstream(HERE, watcher).open(at(port))
        for _ in range(2):
            with pytest.raises(DialError, match=f"connection to {HERE}:{port}: "):
                await received(tunnel)
        with pytest.raises(DialError):
            await tunnel.write(b"x")
    assert tunnel.finished
    tunnel.abort()


async def test_a_refusal_at_an_ipv6_address(watcher: SocketWatcher) -> None:
    """The reason has the address in brackets, as a URL would."""
    with socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        port = sock.getsockname()[1]
        tunnel = DirectUpstream("::1", watcher).open(at(port))
        with pytest.raises(DialError) as raised:
            await tunnel.confirm()
    assert str(raised.value).startswith(f"connection to [::1]:{port}: ")
    tunnel.abort()


async def test_a_reset_is_no_good_end(pair: Pair) -> None:
    """What was received may be short."""
    tunnel, accepted = pair
    with trio.fail_after(60):
        await tunnel.write(b"x")
        far = await accepted.receive()
        reset(far)
        with pytest.raises(TunnelError):
            await received(tunnel)
        await tunnel.write(b"dropped")  # nobody takes it, and nobody minds
    tunnel.abort()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@asynccontextmanager
async def copying(
    tunnel: DirectTunnel, accepted: trio.MemoryReceiveChannel[trio.SocketStream]
) -> AsyncIterator[Copying]:
    """The tunnel's far end and its client's; the block's end is the download's, and it has to be a good one."""
    ours, theirs = (RawSocket(sock) for sock in socket.socketpair())
    counts: list[int] = []
    with closing(ours), closing(theirs), trio.fail_after(60):
        assert await tunnel.confirm()
        far = await accepted.receive()
        async with trio.open_nursery() as nursery:
            with Tasks(nursery) as tasks:
                tunnel.copy_to(ours, tasks, lambda: counts.append(descriptors()))
                yield Copying(far, theirs, counts)
                tunnel.end()
                await far.aclose()
                await tunnel.wait_finished()
    tunnel.abort()
    assert tunnel.error is None


class Copying(NamedTuple):
    """`counts`: the open descriptors after each piece."""

    far: trio.SocketStream
    client: RawSocket
    counts: list[int]

    async def download(self, data: bytes) -> None:
        got = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.far.send_all, data)
            while len(got) < len(data):
                got += await self.client.receive()
        assert got == data


needs_splice = pytest.mark.skipif(not CAN_SPLICE, reason="this system has no splice(2)")


@needs_splice
async def test_a_download_that_pauses_gives_its_pipe_back(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept connection costs its two sockets once nothing has come for a while; more is downloaded as before."""
    monkeypatch.setattr(module, "IDLE", 0.2)
    data = random.Random(0).randbytes(3 * SPLICE_AFTER)
    async with copying(*pair) as copied:
        before = descriptors()
        for _ in range(2):
            await copied.download(data)
            assert max(copied.counts) == before + 2
            while descriptors() > before:  # noqa: ASYNC110 - the system has no event for it
                await trio.sleep(0.01)
            copied.counts.clear()


@needs_splice
async def test_a_download_without_a_descriptor_for_a_pipe(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of descriptors it is copied without one."""

    refused = 0

    def no_more(_: int) -> tuple[int, int]:
        nonlocal refused
        refused += 1
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with copying(*pair) as copied:
        monkeypatch.setattr(os, "pipe2", no_more)
        await copied.download(random.Random(0).randbytes(3 * SPLICE_AFTER))
    assert refused


@needs_splice
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, errno.EPERM], ids=errno.errorcode.get)
async def test_a_system_that_does_not_let_us_splice(pair: Pair, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A filter of system calls, or an emulated Linux: what is long is copied, both ways."""
    refused = 0

    def refusing(*_: int, **_options: int) -> int:
        nonlocal refused
        refused += 1
        raise OSError(code, os.strerror(code))

    async with copying(*pair) as copied:
        monkeypatch.setattr(os, "splice", refusing)
        await copied.download(random.Random(0).randbytes(3 * SPLICE_AFTER))
        assert refused
        assert not await pair[0].take_from(copied.client, lambda count: None)


async def test_a_long_answer_to_a_slow_client(pair: Pair) -> None:
    """What the client's socket has no room for waits for it, and nothing else does: every byte arrives in order."""
    tunnel, accepted = pair
    data = random.Random(0).randbytes(3_000_000)
    ours, theirs = socket.socketpair()
    with trio.fail_after(60):
        await tunnel.write(b"question")
        far = await accepted.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(far.send_all, b"short")
            with Tasks(nursery) as tasks:
                tunnel.copy_to(RawSocket(ours), tasks, lambda: None)
                client = RawSocket(theirs)
                assert await client.receive() == b"short"
                nursery.start_soon(far.send_all, data)
                await trio.testing.wait_all_tasks_blocked(0.01)
                found = b""
                while len(found) < len(data):
                    found += await client.receive()
                    await trio.lowlevel.checkpoint()
                assert found == data
                tasks.cancel()
    tunnel.abort()
    ours.close()
    client.close()


async def test_a_client_that_is_gone_is_no_fault_of_the_container(pair: Pair) -> None:
    """Nobody takes the answer: that ends the connection."""
    tunnel, accepted = pair
    ours, theirs = socket.socketpair()
    theirs.close()
    with trio.fail_after(60):
        await tunnel.write(b"question")
        far = await accepted.receive()
        await far.send_all(b"answer")
        async with trio.open_nursery() as nursery:
            with Tasks(nursery) as tasks:
                tunnel.copy_to(RawSocket(ours), tasks, lambda: None)
                await trio.sleep(math.inf)
    assert tunnel.finished
    assert isinstance(tunnel.failure, OSError)
    assert tunnel.error is None
    tunnel.abort()
    ours.close()


class Relayed(NamedTuple):
    """A client's connection to a container: both ends, and the relay between them."""

    client: trio.SocketStream
    far: trio.SocketStream
    relay: Relay
    over: trio.Event


@pytest.fixture
async def relayed(pair: Pair, nursery: trio.Nursery) -> AsyncIterator[Relayed]:
    tunnel, accepted = pair
    with socket.create_server((HERE, 0)) as server:
        client = await trio.open_tcp_stream(*server.getsockname())
        local, _ = server.accept()
    dial, counters = cast(HeldDial, Dialler(lambda: tunnel)), Counts(since=datetime.now(UTC))
    relay = Relay(RawSocket(local), dial, 10.0, counters)
    over = trio.Event()

    async def run() -> None:
        await relay.run()
        over.set()

    nursery.start_soon(run)
    with trio.fail_after(60):
        yield Relayed(client, await accepted.receive(), relay, over)
    await client.aclose()


@pytest.mark.parametrize("answer", [b"", b"short", random.Random(0).randbytes(300_000)], ids=["none", "short", "long"])
async def test_a_container_that_ends_its_sending_first(relayed: Relayed, answer: bytes) -> None:
    """Its end passes on, and the client's bytes still go there until the client ends: `nc -l > file` in a container."""
    data = random.Random(1).randbytes(3_000_000)
    await relayed.far.send_all(answer)
    await relayed.far.send_eof()
    assert b"".join([piece async for piece in relayed.client]) == answer
    async with trio.open_nursery() as nursery:

        async def upload() -> None:
            await relayed.client.send_all(data)
            await relayed.client.aclose()

        nursery.start_soon(upload)
        found = b"".join([piece async for piece in relayed.far])
    assert found == data
    await relayed.over.wait()
    assert (relayed.relay.error, relayed.relay.sent, relayed.relay.received) == ("", len(data), len(answer))


async def test_a_client_that_writes_to_a_container_that_has_ended(relayed: Relayed) -> None:
    """The answer was complete: the end is a good one, and nothing is left open."""
    await relayed.far.send_all(b"answer")
    await relayed.far.aclose()
    assert b"".join([piece async for piece in relayed.client]) == b"answer"
    with suppress(trio.BrokenResourceError):
        while not relayed.over.is_set():
            await relayed.client.send_all(b"more")
            await trio.sleep(0.01)
    await relayed.over.wait()
    assert relayed.relay.error == ""


@pytest.mark.skipif(sys.platform != "linux", reason="this system does not tell")
@pytest.mark.parametrize("watcher", [SocketWatcher], indirect=True)
async def test_a_client_that_stays_when_its_container_is_gone(relayed: Relayed) -> None:
    """It neither writes nor closes: the kernel tells that nobody holds the other end any more."""
    await relayed.far.send_eof()
    assert await relayed.client.receive_some() == b""
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert not relayed.over.is_set()
    reset(relayed.far)
    await relayed.over.wait()
    assert relayed.relay.error == ""


@needs_splice
async def test_a_long_upload(pair: Pair) -> None:
    """The kernel moves it, every byte arrives in order, and its end is reported."""
    tunnel, accepted = pair
    data = random.Random(0).randbytes(3_000_000)
    ours, theirs = (RawSocket(sock) for sock in socket.socketpair())
    counts: list[int] = []
    with closing(ours), trio.fail_after(60):
        assert await tunnel.confirm()
        far = await accepted.receive()

        async def upload() -> None:
            await theirs.send(data)
            theirs.close()

        async def take() -> None:
            assert await tunnel.take_from(ours, counts.append)
            tunnel.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload)
            nursery.start_soon(take)
            found = b""
            while piece := await far.receive_some():
                found += piece
    assert (found == data, sum(counts)) == (True, len(data))
    tunnel.abort()


@needs_splice
async def test_an_upload_to_a_container_that_is_gone(pair: Pair) -> None:
    """The rest is dropped by `write`, since what the container has sent may still be to be read."""
    tunnel, accepted = pair
    ours, theirs = (RawSocket(sock) for sock in socket.socketpair())
    with closing(ours), closing(theirs), trio.fail_after(20):
        assert await tunnel.confirm()
        reset(await accepted.receive())
        await trio.testing.wait_all_tasks_blocked(0.01)
        await theirs.send(b"rest")
        assert not await tunnel.take_from(ours, lambda count: None)
        await tunnel.write(b"more")
    tunnel.abort()
