"""Leaving an event stream: what Skaffold sees of it, in memory for the times, over loopback for FIN and reset."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from tests.skaffold.peer import HEAD, TAKEN, Peer, Port, chunk, posted
from tests.skaffold.recorded import raw
from watcher.errors import StreamEndedError, StuckError
from watcher.skaffold.http_request import ApiAddress, connect_api
from watcher.skaffold.stream import EventStream, Probes

ADDRESS = ApiAddress("127.0.0.1", 50051)
LIVE = b'{"result":{"skaffoldLogEvent":{"message":"tick"}}}'


class Reading:
    """A reader of the Skaffold at `port`; the test cancels `scope`. `heard`: whether the replay was, by then."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.scope = trio.CancelScope()
        self.heard = trio.Event()
        self.received = bytearray()
        self.gone = trio.Event()
        self.gone_at = 0.0

    async def run(self) -> None:
        with self.scope:
            async with EventStream(await self.port.dial(ADDRESS), ADDRESS, Probes(self.port.dial, ADDRESS)) as events:
                await events.open()
                await events.replay(self.received.extend)
                self.heard.set()
                while True:
                    self.received += await events.receive()
        self.gone_at = trio.current_time()
        self.gone.set()


async def left_during(play: Callable[[Reading, Peer], Awaitable[None]]) -> float:
    """Seconds until the reader is gone, which `play` cancels at time 0 of the clock or later."""
    reading = Reading(Port(is_open=True))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reading.run)
        await play(reading, await reading.port.accept())
        await reading.gone.wait()
        nursery.cancel_scope.cancel()
    return reading.gone_at


async def test_fin_then_close(autojump_clock: MockClock) -> None:
    """Once the replay was heard a stream is left at once by a FIN, and closed once Skaffold has closed."""

    async def play(reading: Reading, peer: Peer) -> None:
        await peer.replay(*raw("dev-first").splitlines())
        await reading.heard.wait()
        reading.scope.cancel()
        assert await peer.fin() == 0
        await trio.sleep(0.015)
        await peer.break_off()

    assert await left_during(play) == pytest.approx(0.015)


async def test_every_event_of_the_replay_is_handed_on(autojump_clock: MockClock) -> None:
    """None is lost between the replay and what comes after it."""

    async def play(reading: Reading, peer: Peer) -> None:
        lines = raw("dev-redeploy").splitlines()
        await peer.replay(*lines[:20])
        await reading.heard.wait()
        await peer.say(*lines[20:])
        await trio.testing.wait_all_tasks_blocked()
        told = [line for line in bytes(reading.received).splitlines() if b'"portside-' not in line]
        assert told == lines
        reading.scope.cancel()
        await peer.fin()
        await peer.break_off()

    await left_during(play)


@pytest.mark.parametrize("first", [0, 5])
async def test_leaving_during_a_replay_hears_it_out(first: int, autojump_clock: MockClock) -> None:
    """Before the first event, which brings the head, or after some; silences in it and live events mean nothing."""

    async def play(reading: Reading, peer: Peer) -> None:
        lines = raw("dev-redeploy").splitlines()
        await peer.say(*lines[:first]) if first else None
        reading.scope.cancel()
        for line in lines[first:10]:
            await trio.sleep(0.7)
            await peer.say(line, LIVE)
        await peer.replay()
        assert await peer.fin() == pytest.approx(0.7 * (10 - first))
        await peer.break_off()

    await left_during(play)


async def test_a_replay_that_sleeps_is_woken(autojump_clock: MockClock) -> None:
    """Live events alone come, and nothing of the replay, until something as large as gRPC's write quota was posted."""

    async def play(reading: Reading, peer: Peer) -> None:
        async with trio.open_nursery() as nursery:

            async def chatter() -> None:
                while True:
                    await peer.say(LIVE)
                    await trio.sleep(0.01)

            nursery.start_soon(chatter)
            await reading.port.large.wait()
            assert trio.current_time() <= 0.5
            assert not reading.heard.is_set()
            await peer.replay()
            await reading.heard.wait()
            nursery.cancel_scope.cancel()
        reading.scope.cancel()
        await peer.fin()
        await peer.break_off()

    await left_during(play)


@pytest.mark.parametrize(("lines", "is_long"), [(10, False), (2000, True)])
async def test_what_was_logged_while_we_asked_is_woken_too(
    lines: int, is_long: object, autojump_clock: MockClock
) -> None:
    """Where a replay was long enough for its sender to have waited, and only there."""

    async def play(reading: Reading, peer: Peer) -> None:
        await peer.replay(*[LIVE] * lines)
        await reading.heard.wait()
        assert reading.port.large.is_set() is is_long
        reading.scope.cancel()
        await peer.fin()
        await peer.break_off()

    await left_during(play)


async def test_a_replay_that_never_ends_is_left_after_a_minute(autojump_clock: MockClock) -> None:
    """Every wait of leaving has its end."""

    async def play(reading: Reading, peer: Peer) -> None:
        await peer.say(LIVE)
        reading.scope.cancel()
        await peer.fin()  # and it never closes

    assert await left_during(play) == pytest.approx(62.5)


async def test_a_skaffold_that_never_closes_is_left_after_two_seconds(autojump_clock: MockClock) -> None:
    """What comes until then is read."""

    async def play(reading: Reading, peer: Peer) -> None:
        await peer.replay(LIVE)
        await reading.heard.wait()
        reading.scope.cancel()
        await peer.fin()
        await peer.say(*[LIVE] * 100)

    assert await left_during(play) == pytest.approx(2)


async def test_a_skaffold_that_we_have_stopped_is_left(autojump_clock: MockClock) -> None:
    """The replay has come and no live event does: only our leaving makes Skaffold go on."""
    port = Port(is_open=True)
    port.echoes = False
    reading = Reading(port)
    async with trio.open_nursery() as nursery:

        async def play() -> None:
            peer = await port.accept()
            await peer.replay(*raw("dev-first").splitlines())
            assert await peer.fin() == pytest.approx(2)
            await peer.break_off()

        nursery.start_soon(play)
        with pytest.raises(StuckError):
            await reading.run()
    assert trio.current_time() == pytest.approx(2)


async def test_a_skaffold_that_takes_no_probe_is_asked_for_nothing(autojump_clock: MockClock) -> None:
    """Somebody has stopped it; a reader that asked now could not leave again. Nor is there a wait when we are ended."""
    port = Port(is_open=True)
    port.answer = None
    reading = Reading(port)
    with pytest.raises(StuckError):
        await reading.run()
    reading = Reading(port)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reading.run)
        await trio.testing.wait_all_tasks_blocked()
        before = trio.current_time()
        reading.scope.cancel()
    assert trio.current_time() == before
    with pytest.raises(trio.WouldBlock):
        port.accept_nowait()


async def test_nobody_waits_for_a_skaffold_that_has_ended(autojump_clock: MockClock) -> None:
    """Where Skaffold closed first, in its replay or after it, the connection is closed at once."""
    reading = Reading(Port(is_open=True))

    async def play() -> None:
        peer = await reading.port.accept()
        await peer.say(LIVE)
        await peer.break_off()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(play)
        with pytest.raises(StreamEndedError):
            await reading.run()
    assert trio.current_time() == 0


async def test_on_a_real_socket_skaffold_sees_everything_drained_and_a_fin() -> None:
    """Over loopback: megabytes in flight at the moment of leaving are read, then comes a FIN and no reset.

    A server whose peer closed with unread bytes gets ECONNRESET instead of the FIN, and EPIPE on its next write.
    """
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address = ApiAddress("127.0.0.1", listener.socket.getsockname()[1])
    body = raw("dev-redeploy") * 60
    probes: list[bytes] = []
    streams: list[trio.SocketStream] = []
    outcome: list[bytes] = []

    async def skaffold(server: trio.SocketStream) -> None:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        request = b""
        while b"\r\n\r\n" not in request or (request.startswith(b"POST") and not request.endswith(b"}")):
            request += await server.receive_some()
        if request.startswith(b"POST"):
            event = chunk(posted(request) + b"\n")
            probes.append(event)
            for stream in streams:
                await stream.send_all(event)
            await server.send_all(TAKEN)
            return
        await server.send_all(HEAD + chunk(b"{}\n"))
        for line in body.splitlines(keepends=True):
            await server.send_all(chunk(line))
        await server.send_all(probes[0])
        streams.append(server)
        outcome.append(await server.receive_some())
        await server.aclose()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, skaffold, [listener])
            with trio.CancelScope() as scope:
                async with EventStream(await connect_api(address), address, Probes(connect_api, address)) as events:
                    await events.open()
                    scope.cancel()
                    await events.receive()
                    await events.receive()
            while not outcome:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert outcome == [b""]


async def test_connecting_to_a_closed_port_is_refused() -> None:
    """A plain connect tells that nobody listens, without having said anything."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="connect"):
            await connect_api(ApiAddress("127.0.0.1", taken.getsockname()[1]))
