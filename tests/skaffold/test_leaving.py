"""Leaving an event stream: what Skaffold sees of it, in memory for the times, over loopback for FIN and reset."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.skaffold.peer import HEAD, Peer, chunk
from tests.skaffold.recorded import raw
from watcher.skaffold.address import ApiAddress
from watcher.skaffold.errors import StreamEndedError
from watcher.skaffold.stream import EventStream, connect

ADDRESS = ApiAddress("127.0.0.1", 50051)


async def read(stream: trio.abc.HalfCloseableStream, scope: trio.CancelScope) -> float:
    """A reader that is cancelled by the test; the time at which it was gone."""
    with scope:
        async with EventStream(stream, ADDRESS) as events:
            await events.open()
            while True:
                await events.receive()
    return trio.current_time()


async def left_during(play: Callable[[Peer, trio.CancelScope], Awaitable[None]]) -> float:
    """Seconds from the cancellation, which `play` does at time 0 of the clock or later, to the reader's end."""
    ours, theirs = memory_stream_pair()
    scope = trio.CancelScope()
    gone = 0.0

    async def reader() -> None:
        nonlocal gone
        gone = await read(ours, scope)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await play(Peer(theirs), scope)
    return gone


async def test_quiet_then_fin_then_close(autojump_clock: MockClock) -> None:
    """An idle stream is left a quarter of a second later by a FIN, and closed once Skaffold has closed."""

    async def play(peer: Peer, scope: trio.CancelScope) -> None:
        await peer.say(*raw("dev-first").splitlines())
        scope.cancel()
        assert await peer.fin() == pytest.approx(0.25)
        await trio.sleep(0.015)
        await peer.break_off()

    assert await left_during(play) == pytest.approx(0.265)


async def test_leaving_during_a_replay_reads_it_to_its_end(autojump_clock: MockClock) -> None:
    """A replay is drained before the FIN, so that no listener of Skaffold's fails in the middle of it."""

    async def play(peer: Peer, scope: trio.CancelScope) -> None:
        await peer.say(b"{}")
        scope.cancel()
        for line in raw("dev-redeploy").splitlines()[:10]:
            await trio.sleep(0.1)
            await peer.say(line)
        assert await peer.fin() == pytest.approx(1.25)
        await peer.break_off()

    assert await left_during(play) == pytest.approx(1.25)


async def test_a_stream_that_is_never_quiet_is_left_after_two_seconds(autojump_clock: MockClock) -> None:
    """A chatty pod cannot hold us for ever; what comes after our FIN is still read."""

    async def play(peer: Peer, scope: trio.CancelScope) -> None:
        async with trio.open_nursery() as nursery:

            async def chatter() -> None:
                while True:
                    await peer.say(b"{}")
                    await trio.sleep(0.01)

            nursery.start_soon(chatter)
            await wait_all_tasks_blocked()
            scope.cancel()
            assert await peer.fin() == pytest.approx(2.0)
            await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        await peer.break_off()

    assert await left_during(play) == pytest.approx(2.05)


def event(at: datetime) -> bytes:
    return b'{"result":{"timestamp":"%s","skaffoldLogEvent":{}}}' % at.isoformat().replace("+00:00", "Z").encode()


@pytest.mark.parametrize(("replayed", "asked_at", "left_at"), [(5.0, 0.5, 5.25), (1.0, 4.0, 4.0), (60.0, 1.0, 11.0)])
async def test_among_live_events_the_replay_alone_is_waited_for(
    replayed: float, asked_at: float, left_at: float, autojump_clock: MockClock
) -> None:
    """A long log is read to its end, ten seconds at most; after it a stream that is never silent is left at once."""

    async def play(peer: Peer, scope: trio.CancelScope) -> None:
        old, new = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)

        async def tell() -> None:
            while True:
                await peer.say(event(new), *([event(old)] if trio.current_time() <= replayed else []))
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)
            await trio.sleep(asked_at)
            scope.cancel()
            assert await peer.fin() == pytest.approx(left_at, abs=0.03)
            nursery.cancel_scope.cancel()
        await peer.break_off()

    await left_during(play)


async def test_a_skaffold_that_never_closes_is_left_within_two_and_a_half_seconds(autojump_clock: MockClock) -> None:
    """Every wait of leaving has its end."""

    async def play(peer: Peer, scope: trio.CancelScope) -> None:
        await peer.say(b"{}")
        scope.cancel()
        await peer.fin()

    assert await left_during(play) <= 2.5


async def test_leaving_before_the_first_event(autojump_clock: MockClock) -> None:
    """A request without an answer yet is left in the same way."""

    async def play(peer: Peer, scope: trio.CancelScope) -> None:
        await peer.accept()
        scope.cancel()
        assert await peer.fin() == pytest.approx(0.25)
        await peer.break_off()

    assert await left_during(play) == pytest.approx(0.25)


async def test_nobody_waits_for_a_skaffold_that_has_ended(autojump_clock: MockClock) -> None:
    """Where Skaffold closed first the connection is closed at once."""
    ours, theirs = memory_stream_pair()
    peer = Peer(theirs)

    async def play() -> None:
        await peer.say(b"{}")
        await peer.break_off()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(play)
        with pytest.raises(StreamEndedError):
            await read(ours, trio.CancelScope())
    assert trio.current_time() == 0


async def test_on_a_real_socket_skaffold_sees_everything_drained_and_a_fin() -> None:
    """Over loopback: megabytes in flight at the moment of leaving are read, then comes a FIN and no reset.

    A server whose peer closed with unread bytes gets ECONNRESET instead of the FIN, and EPIPE on its next write.
    """
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    body = raw("dev-redeploy") * 60
    outcome: list[bytes] = []

    async def skaffold(server: trio.SocketStream) -> None:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        request = b""
        while b"\r\n\r\n" not in request:
            request += await server.receive_some()
        await server.send_all(HEAD + chunk(b"{}\n"))
        for line in body.splitlines(keepends=True):
            await server.send_all(chunk(line))
        outcome.append(await server.receive_some())
        await server.aclose()

    async def reader(scope: trio.CancelScope) -> None:
        with scope:
            async with EventStream(await connect(ApiAddress("127.0.0.1", port)), ADDRESS) as events:
                await events.open()
                scope.cancel()
                await events.receive()
                await events.receive()

    with trio.fail_after(30):
        async with listener, trio.open_nursery() as nursery:
            nursery.start_soon(reader, trio.CancelScope())
            await skaffold(await listener.accept())
    assert outcome == [b""]


async def test_connecting_to_a_closed_port_is_refused() -> None:
    """A plain connect tells that nobody listens, without having said anything."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="connect"):
            await connect(ApiAddress("127.0.0.1", taken.getsockname()[1]))
