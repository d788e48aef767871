"""Slow, stuck, many or vanished readers are bounded and do not affect others."""

from __future__ import annotations

import itertools
import json
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, suppress
from copy import copy
from datetime import UTC, datetime

import httpx
import msgspec
import pytest
import trio
import trio.testing

from forwarders.spec import Counts
from tests.board.made import forward, skip, subscriptions
from tests.status.made import ask, port_of, served
from watcher.board.board import Board
from watcher.board.http import routes, server
from watcher.board.http.routes import MAX_STREAMS

# More than the kernel keeps for anybody.
CHANGES, LONG = 60, "x" * 50_000
EVENTS = b"GET /v1/events?counters HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def readers_of(board: Board, count: int) -> None:
    with trio.fail_after(60):
        while subscriptions(board) != count:
            await trio.testing.wait_all_tasks_blocked(0.01)


async def stuck(client: httpx.AsyncClient) -> trio.SocketStream:
    """Requests events and reads none, with the smallest buffer that the system allows."""
    sock = trio.socket.socket()
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 1)
    await sock.connect(("127.0.0.1", port_of(client)))
    stream = trio.SocketStream(sock)
    await stream.send_all(EVENTS)
    return stream


async def test_readers_that_never_read_hold_up_nobody() -> None:
    """As many as there may be: publishing does not wait, other questions are answered, and the end comes at once."""
    board = Board()
    async with AsyncExitStack() as readers:
        async with served(board) as client:
            streams = [await readers.enter_async_context(await stuck(client)) for _ in range(MAX_STREAMS)]
            await readers_of(board, MAX_STREAMS)
            for number in range(CHANGES):
                board.publish(forward(reason=f"{number} {LONG}"))
                await trio.testing.wait_all_tasks_blocked()
            refused = await client.get("/v1/events")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert f"{MAX_STREAMS} readers" in refused.text
            assert (await client.get("/v1/forwards")).json()[0]["reason"] == f"{CHANGES - 1} {LONG}"
            told = await until(streams[0], f'"reason":"{CHANGES - 1} '.encode())
            assert told.count(b"data: ") < CHANGES  # it was stuck, and got the newest in place of all
            await client.aclose()
        # Cancelled while all the others are stuck.
        assert subscriptions(board) == 0


async def until(stream: trio.SocketStream, text: bytes) -> bytes:
    received = b""
    with trio.fail_after(60):
        while text not in received:
            data = await stream.receive_some()
            assert data
            received += data
    return received


async def test_a_reader_that_takes_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is closed, and its place is free again."""
    monkeypatch.setattr(server, "WRITE_TIMEOUT", 0.1)
    board = Board()
    async with served(board) as client, await stuck(client):
        await readers_of(board, 1)
        for number in range(CHANGES):
            board.publish(forward(reason=f"{number} {LONG}"))
            await trio.testing.wait_all_tasks_blocked()
        await readers_of(board, 0)


async def test_readers_that_leave_make_room() -> None:
    """The limit counts those who are there."""
    board = Board()
    async with served(board) as client:
        for _ in range(2):
            async with AsyncExitStack() as readers:
                for _ in range(MAX_STREAMS):
                    await readers.enter_async_context(await stuck(client))
                await readers_of(board, MAX_STREAMS)
            await readers_of(board, 0)
        async with client.stream("GET", "/v1/events") as answer:
            assert answer.status_code == 200


async def test_connections_that_say_nothing_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many idle connections delay a request by at most their own timeout."""
    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 0.5)
    async with served(Board()) as client, AsyncExitStack() as silent:
        for _ in range(server.MAX_CONNECTIONS + 10):
            await silent.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port_of(client)))
        assert (await client.get("/healthz")).status_code == 200


async def test_without_file_descriptors_questions_wait() -> None:
    """EMFILE ends nothing; with descriptors free again there are answers."""
    async with served(Board()) as client:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with ExitStack() as others:
            with socket.socket() as lowest:
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + 20, hard))
            try:
                with suppress(OSError):  # the clients themselves run out too
                    for _ in range(30):
                        others.enter_context(socket.create_connection(("127.0.0.1", port_of(client))))
                await trio.testing.wait_all_tasks_blocked(0.05)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (await client.get("/healthz")).status_code == 200


async def test_counters_come_while_somebody_reads_and_at_most_once_a_second(autojump_clock: trio.abc.Clock) -> None:
    """A busy forward is sent once a second, an idle one only once."""
    board, busy, idle = Board(), forward("busy"), forward("idle")
    counters, looks = Counts(since=datetime.now(UTC)), 0
    quiet = Counts(since=datetime.now(UTC))

    def look() -> dict[str, Counts]:
        nonlocal looks
        looks += 1
        counters.sent += 1
        return {busy.id: copy(counters), idle.id: quiet}

    board.counters = look
    for record in (busy, idle, skip()):
        board.publish(record)
    assert looks == 0
    seen: list[tuple[float, str]] = []
    start = trio.current_time()
    with trio.move_on_after(10.5):
        async for piece in routes.events_with_counters(board):
            for line in piece.decode().splitlines():
                if line.startswith("data: "):
                    record = json.loads(line.removeprefix("data: "))
                    seen.append((trio.current_time() - start, record.get("resourceName")))
                    assert record["kind"] == "skip" or record["bytesSent"] >= 0
    names = [name for _, name in seen]
    assert (names.count("idle"), names.count("dns")) == (1, 1)
    times = [at for at, name in seen if name == "busy"]
    assert 9 <= len(times) <= 11
    assert all(later - earlier >= routes.COUNTERS_EVERY - 1e-6 for earlier, later in itertools.pairwise(times))
    before = looks
    await trio.sleep(60)
    assert looks == before  # nobody reads any more


async def test_a_change_does_not_wait_for_the_next_second(autojump_clock: trio.abc.Clock) -> None:
    """A change is sent at once with its counters; plain events have none."""
    board = Board()
    board.publish(forward(state="listening"))
    board.counters = lambda: {forward().id: Counts(since=datetime.now(UTC), sent=5)}
    with_counters, plain = routes.events_with_counters(board), routes.events(board)
    assert [(r["state"], r["bytesSent"]) for r in await _next(with_counters)] == [("listening", 5)]
    assert "bytesSent" not in (await _next(plain))[0]
    board.publish(forward())
    start = trio.current_time()
    assert [(r["state"], r["bytesSent"]) for r in await _next(with_counters)] == [("ready", 5)]
    assert trio.current_time() == start
    for stream in (with_counters, plain):
        await stream.aclose()
    assert subscriptions(board) == 0


async def test_a_reader_that_hears_nothing_hears_that(autojump_clock: trio.abc.Clock) -> None:
    """A comment now and then, so that a reader that has vanished is noticed."""
    stream = routes.events(Board())
    assert await anext(stream) == b": \n\n"
    assert trio.current_time() >= routes.HEARTBEAT
    await stream.aclose()


async def _next(stream: AsyncIterator[bytes]) -> list[dict[str, object]]:
    lines = (await anext(stream)).decode().splitlines()
    return [msgspec.json.decode(line.removeprefix("data: ")) for line in lines if line]


async def test_an_answer_to_many_is_whole() -> None:
    """A hundred at once get the same bytes."""
    board = Board()
    for number in range(100):
        board.publish(forward(f"web-{number}"))
    answers: list[bytes] = []
    async with served(board) as client:

        async def one() -> None:
            answer = await ask(client, b"GET /v1/forwards HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answers.append(answer.partition(b"\r\n\r\n")[2])

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(one)
    assert len(set(answers)) == 1
    assert len(json.loads(answers[0])) == 100
