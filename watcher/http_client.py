"""Sends HTTP/1.1 requests to one server, and keeps a finished request's connection for the next one.

It undoes no content coding, follows no redirect and keeps no cookie. Callers set the deadlines of whole requests, and
send only requests that are safe to repeat: if the server has closed the kept connection, the request is sent again.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, Self

import h11
import trio
from msgspec import Struct

from forwarders.errors import TransportError
from forwarders.transports.sockets import Channel
from watcher.errors import HttpConnectError, HttpError

# Each watch of a cluster holds a connection: 8 kinds in 60 namespaces.
MAX_CONNECTIONS = 512
# Seconds that a request waits for one of these.
FREE_WITHIN = 5.0
# Idle connections, and seconds: they save little, since a watch follows its list at once.
MAX_IDLE, IDLE_FOR = 8, 5.0
# Bytes of a response's head.
MAX_HEAD = 100 * 1024

HeaderList = list[tuple[str, str]]


class ClientRequest(Struct, frozen=True):
    """`target`: path and query. `silence`: seconds that may pass without a byte of the response."""

    method: str
    target: str
    headers: HeaderList
    body: bytes = b""
    silence: float = math.inf


class StreamedResponse(Protocol):
    """A response whose body is still to be read. `headers`: by lower-case name."""

    status: int
    headers: dict[str, str]

    async def receive(self) -> bytes:
        """Returns the next bytes of the body, b"" at its end. Raises HttpError."""

    def close(self) -> None:
        """Call it always. Before the end of the body it closes the connection."""


class Requester(Protocol):
    """What sends requests: an HttpClient, and in tests a server in memory."""

    async def send(self, request: ClientRequest) -> StreamedResponse:
        """Returns when the head of the response has come. Raises HttpError; HttpConnectError before it is sent."""

    def close(self) -> None:
        """Closes all connections. Running requests fail."""


async def pieces_of(response: StreamedResponse) -> AsyncIterator[bytes]:
    """The body of a response. Raises HttpError."""
    while piece := await response.receive():
        yield piece


class HttpClient:
    """A Requester. `dial` connects to the server, within a deadline of its own; `host`: for the header Host."""

    def __init__(self, dial: Callable[[], Awaitable[Channel]], host: str) -> None:
        self._dial = dial
        self._host = host
        self._free = trio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[_HttpConnection] = []  # the one that was used last is at the end
        self._open: set[_HttpConnection] = set()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def send(self, request: ClientRequest) -> StreamedResponse:
        """See Requester."""
        kept = self._kept()
        if kept is not None:
            try:
                return await self._exchange(kept, request)
            except HttpError:
                if kept.answered or kept.silent:
                    raise
        return await self._exchange(await self._connected(), request)

    def close(self) -> None:
        """See Requester."""
        self._closed = True
        for connection in tuple(self._open):
            self.discard(connection)

    def keep(self, connection: _HttpConnection) -> None:
        """A connection whose response has been read to its end."""
        if self._closed or not connection.reusable():
            self.discard(connection)
            return
        connection.idle_until = trio.current_time() + IDLE_FOR
        self._idle.append(connection)
        if len(self._idle) > MAX_IDLE:
            self.discard(self._idle[0])

    def discard(self, connection: _HttpConnection) -> None:
        """Closes a connection; may be called again."""
        if connection in self._open:
            self._open.remove(connection)
            connection.channel.close()
            self._free.release()
        if connection in self._idle:
            self._idle.remove(connection)

    def _kept(self) -> _HttpConnection | None:
        now = trio.current_time()
        for old in [one for one in self._idle if one.idle_until < now]:
            self.discard(old)
        return self._idle.pop() if self._idle else None

    async def _connected(self) -> _HttpConnection:
        with _failures(HttpConnectError):
            with trio.fail_after(FREE_WITHIN):
                await self._free.acquire()
            try:
                connection = _HttpConnection(await self._dial())
            except BaseException:
                self._free.release()
                raise
        self._open.add(connection)
        if self._closed:
            self.discard(connection)
            raise HttpConnectError("the connection was closed")
        return connection

    async def _exchange(self, connection: _HttpConnection, request: ClientRequest) -> _Response:
        try:
            await connection.send(self._host, request)
            return await self._answered(connection, request.silence)
        except BaseException:
            self.discard(connection)
            raise

    async def _answered(self, connection: _HttpConnection, silence: float) -> _Response:
        while True:
            head = await connection.next_event(silence)
            if isinstance(head, h11.Response):
                return _Response(self, connection, head, silence)


class _HttpConnection:
    """One connection, with the state of HTTP/1.1 on it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.idle_until = math.inf
        self.answered = self.silent = False  # in this request: a byte has come; none came in time
        self._http = h11.Connection(h11.CLIENT, MAX_HEAD)

    async def send(self, host: str, request: ClientRequest) -> None:
        headers = [("Host", host), *request.headers]
        if request.body:
            headers.append(("Content-Length", str(len(request.body))))
        try:
            head = self._http.send(h11.Request(method=request.method, target=request.target, headers=headers))
        except (h11.LocalProtocolError, ValueError):
            # The error's own text would show the credentials.
            raise HttpError("the request cannot be sent: its path or its credentials are no HTTP") from None
        parts = [head, self._http.send(h11.Data(request.body)), self._http.send(h11.EndOfMessage())]
        with _failures(HttpError), trio.fail_after(request.silence):
            await self.channel.send(b"".join(part or b"" for part in parts))

    async def next_event(self, silence: float) -> h11.Event:
        with _failures(HttpError):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = await self._receive(silence)
                if not data and self._http.their_state is h11.SEND_RESPONSE:
                    raise HttpError("the connection was closed before the response")
                self._http.receive_data(data)
            assert isinstance(event, h11.Event)  # noqa: S101 - PAUSED follows only the end, which is read once
            return event

    def reusable(self) -> bool:
        """Whether another request may follow; then it is prepared for it."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self.answered = self.silent = False
        return True

    async def _receive(self, silence: float) -> bytes:
        try:
            with trio.fail_after(silence):
                data = await self.channel.receive()
        except trio.TooSlowError:
            self.silent = True
            raise
        self.answered = self.answered or bool(data)
        return data


class _Response:
    """A StreamedResponse."""

    def __init__(self, client: HttpClient, connection: _HttpConnection, head: h11.Response, silence: float) -> None:
        self.status = head.status_code
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        self._client = client
        self._connection: _HttpConnection | None = connection
        self._silence = silence

    async def receive(self) -> bytes:
        """See StreamedResponse."""
        if self._connection is None:
            return b""
        try:
            while isinstance(event := await self._connection.next_event(self._silence), h11.Data):
                if event.data:
                    return bytes(event.data)
        except BaseException:
            self.close()
            raise
        self._client.keep(self._connection)
        self._connection = None
        return b""

    def close(self) -> None:
        """See StreamedResponse."""
        if self._connection is not None:
            self._client.discard(self._connection)
            self._connection = None


@contextmanager
def _failures(kind: type[HttpError]) -> Iterator[None]:
    """Turns every failure of a connection into an error of `kind`."""
    try:
        yield
    except trio.TooSlowError as error:
        raise kind("no answer in time") from error
    except (TransportError, OSError, trio.ClosedResourceError, h11.RemoteProtocolError) as error:
        raise kind(str(error) or "the connection was closed") from error
