"""The HTTP client over real sockets: which connections are kept, what is sent again, and what is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from trio.testing import MockClock

from forwarders.transports.connecting import connect_tcp
from forwarders.transports.sockets import Channel, SocketChannel
from watcher import http_client
from watcher.errors import HttpConnectError, HttpError
from watcher.http_client import IDLE_FOR, MAX_IDLE, ClientRequest, HttpClient, pieces_of

ASKED = ClientRequest("GET", "/", [])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[[trio.SocketStream], Awaitable[None]]


class Server:
    """Calls `answer` for each request; `connections` and `requests` count."""

    def __init__(self, answer: Answer) -> None:
        self.connections = self.requests = 0
        self._answer = answer

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
            await self._serve(stream)

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            received = b""
            while data := await stream.receive_some():
                received += data
                if received.endswith(b"\r\n\r\n"):
                    received = b""
                    self.requests += 1
                    await self._answer(stream)


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[tuple[Server, HttpClient]]:
    server = Server(answer)
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, server.serve, [listener])

        async def dial() -> Channel:
            return SocketChannel(await connect_tcp("127.0.0.1", port))

        with HttpClient(dial, "api.test") as client:
            yield server, client
        nursery.cancel_scope.cancel()


async def ok(stream: trio.SocketStream) -> None:
    await stream.send_all(OK)


async def read(client: HttpClient, request: ClientRequest = ASKED) -> bytes:
    response = await client.send(request)
    return b"".join([piece async for piece in pieces_of(response)])


async def test_one_connection_serves_requests_that_follow_each_other() -> None:
    """A watch follows its list on the same connection."""
    async with serving(ok) as (server, client):
        assert [await read(client) for _ in range(3)] == [b"ok"] * 3
        assert (server.connections, server.requests) == (1, 3)


async def test_requests_at_the_same_time_have_a_connection_each() -> None:
    """Afterwards a few connections are kept, and the others are closed."""
    many = MAX_IDLE + 4
    began = trio.Event()

    async def together(stream: trio.SocketStream) -> None:
        if server.requests == many:
            began.set()
        await began.wait()
        await stream.send_all(OK)

    async with serving(together) as (server, client):
        async with trio.open_nursery() as nursery:
            for _ in range(many):
                nursery.start_soon(read, client)
        assert server.connections == many
        assert len(client._idle) == MAX_IDLE


async def test_a_connection_that_was_idle_for_long_is_not_used(mock_clock: MockClock) -> None:
    """A network in between may have forgotten it."""
    async with serving(ok) as (server, client):
        await read(client)
        mock_clock.jump(IDLE_FOR + 1)
        await read(client)
        assert server.connections == 2


async def test_a_kept_connection_that_the_server_has_closed_is_replaced() -> None:
    """The request is sent again on a new one; the caller notices nothing."""

    async def once(stream: trio.SocketStream) -> None:
        await stream.send_all(OK)
        await stream.aclose()

    async with serving(once) as (server, client):
        for _ in range(3):
            assert await read(client) == b"ok"
        assert server.connections == 3


async def test_a_new_connection_that_is_closed_is_an_error() -> None:
    """Nothing is sent twice to a server that closes every connection."""

    async def closed(stream: trio.SocketStream) -> None:
        await stream.aclose()

    async with serving(closed) as (server, client):
        with pytest.raises(HttpError):
            await read(client)
        assert server.connections == 1


async def test_an_answer_that_has_begun_is_not_asked_for_again() -> None:
    """On a kept connection either: half a head is an error."""

    async def half(stream: trio.SocketStream) -> None:
        await stream.send_all(OK if server.requests == 1 else b"HTTP/1.1 200")
        if server.requests > 1:
            await stream.aclose()

    async with serving(half) as (server, client):
        await read(client)
        with pytest.raises(HttpError):
            await read(client)
        assert (server.connections, server.requests) == (1, 2)


async def test_silence_has_a_deadline_and_nothing_is_sent_again(autojump_clock: MockClock) -> None:
    """On a kept connection too, where the server may only be slow."""

    async def first_only(stream: trio.SocketStream) -> None:
        if server.requests == 1:
            await stream.send_all(OK)

    async with serving(first_only) as (server, client):
        await read(client)
        began = trio.current_time()
        with pytest.raises(HttpError, match="no answer in time"):
            await read(client, ClientRequest("GET", "/", [], silence=30))
        assert trio.current_time() - began == pytest.approx(30)
        assert server.connections == 1


async def test_a_response_that_is_left_early_closes_its_connection() -> None:
    """The rest of its body cannot be told from the next response."""
    async with serving(ok) as (server, client):
        response = await client.send(ASKED)
        response.close()
        assert await read(client) == b"ok"
        assert server.connections == 2


async def test_closing_ends_running_requests() -> None:
    """A reader of a body gets an error at once, and later requests are refused."""

    async def unfinished(stream: trio.SocketStream) -> None:
        await stream.send_all(OK[:-1])

    async with serving(unfinished) as (_, client):
        response = await client.send(ASKED)
        assert await response.receive() == b"o"

        async def ended() -> None:
            with pytest.raises(HttpError):
                await response.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ended)
            await trio.testing.wait_all_tasks_blocked()
            client.close()
        with pytest.raises(HttpConnectError):
            await client.send(ASKED)


async def test_more_connections_than_the_limit_wait_and_then_fail(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """A connection that is closed makes room for another."""
    monkeypatch.setattr(http_client, "MAX_CONNECTIONS", 1)
    async with serving(ok) as (_, client):
        response = await client.send(ASKED)
        with pytest.raises(HttpConnectError, match="no answer in time"):
            await client.send(ASKED)
        response.close()
        assert await read(client) == b"ok"


async def test_credentials_that_are_no_http_are_not_shown() -> None:
    """The library's own text would show them."""
    async with serving(ok) as (_, client):
        with pytest.raises(HttpError) as raised:
            await client.send(ClientRequest("GET", "/", [("Authorization", "Bearer s3cret\r\nX: y")]))
    assert "s3cret" not in str(raised.value)
