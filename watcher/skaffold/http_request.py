"""Makes one HTTP/1.1 request to Skaffold's API on a connection of its own, and parses the address of that API.

It does not interpret the answer. How the connection of an event stream is closed matters to Skaffold: see stream.py.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import h11
import msgspec
import trio
from msgspec import Struct

from forwarders.spec import authority
from watcher.errors import NotSkaffoldError, StreamEndedError, UsageError

# Skaffold writes without waiting for us up to what the kernel buffers (megabytes); one read takes this share of it.
CHUNK = 1 << 16
# A connection on the loopback interface is made or refused at once; a remote one (a tunnel) may take some round trips.
_CONNECT = 10.0


class ApiAddress(Struct, frozen=True):
    """Where Skaffold listens with --rpc-http-port."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{authority(self.host, self.port)}"


Dial = Callable[[ApiAddress], Awaitable[trio.abc.HalfCloseableStream]]


def parse_api_address(text: str) -> ApiAddress:
    """Parses `http://host:port`, `host:port` or a bare port of this machine. Raises UsageError for anything else.

    Skaffold serves plain HTTP without a path (pkg/skaffold/server/server.go).
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        text = f"127.0.0.1:{text}"
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme != "http" or parts.path not in {"", "/"} or parts.query or parts.username or not host or not port:
        shown = text.rpartition("@")[2]  # never a password
        raise UsageError(f"{shown!r} is no address of Skaffold's API; write http://127.0.0.1:PORT (--rpc-http-port)")
    return ApiAddress(host, port)


def free_port() -> int:
    """Returns a TCP port that is free on 127.0.0.1 now.

    Skaffold does not report which port it got for port 0, so it is given a number. If another program takes that port
    before Skaffold binds it, Skaffold reports this and exits with 1.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def connect_api(address: ApiAddress) -> trio.abc.HalfCloseableStream:
    """Opens a plain TCP connection. Raises OSError, or trio.TooSlowError after 10 s."""
    with trio.fail_after(_CONNECT):
        return await trio.open_tcp_stream(address.host, address.port)


async def post_event(dial: Dial, address: ApiAddress, event: object) -> None:
    """Adds one event to Skaffold's log, and so to its event streams. The caller sets the deadline.

    Raises OSError and trio.TooSlowError of `dial`, StreamEndedError and NotSkaffoldError of the request.
    """
    async with await dial(address) as stream:
        request = HttpRequest(stream, address, "POST", "/v2/events/handle")
        await request.send(msgspec.json.encode(event))
        await request.receive_head()
        # Unread bytes would make the close a reset, and a reset can end Skaffold.
        while not isinstance(await request.receive(), h11.EndOfMessage):
            pass


class HttpRequest:
    """One request to the Skaffold at `address` over `stream`, which the caller closes.

    `sent`: whether any byte of the request may have been sent. `closed`: whether Skaffold has closed the connection.
    """

    def __init__(self, stream: trio.abc.HalfCloseableStream, address: ApiAddress, method: str, path: str) -> None:
        self.sent = False
        self.closed = False
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._address = address
        self._target = method, path

    async def send(self, body: bytes = b"") -> None:
        """Sends the request. If it is cancelled, a part may have been sent. Raises StreamEndedError."""
        method, path = self._target
        host = authority(self._address.host, self._address.port)
        headers = [("Host", host), ("Accept", "application/json"), ("User-Agent", "portside")]
        if body:
            headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        events = [h11.Request(method=method, target=path, headers=headers), h11.Data(body), h11.EndOfMessage()]
        data = b"".join(self._http.send(event) or b"" for event in events)
        self.sent = True
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            self.closed = True
            raise self.ended() from None

    async def receive_head(self) -> None:
        """Waits for the head of an answer with status 200. Raises as `receive`, NotSkaffoldError for other statuses."""
        while True:
            match await self.receive():
                case h11.Response(status_code=200):
                    return
                case h11.Response(status_code=status):
                    raise self._not_skaffold(f"HTTP status {status}")

    async def receive(self) -> h11.Event:
        """Returns the next HTTP event. Nothing awaits between the socket and the return, so a cancel loses no byte.

        Raises StreamEndedError if the connection ends first, NotSkaffoldError if the answer is not HTTP.
        """
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._read())
        except h11.RemoteProtocolError:
            if self.closed:  # Skaffold never sends the last chunk, however it ends
                raise self.ended() from None
            raise self._not_skaffold("something that is no HTTP/1.1") from None
        if not isinstance(event, h11.Event):  # PAUSED: called again after the end
            raise self.ended()
        return event

    async def _read(self) -> bytes:
        try:
            data = bytes(await self._stream.receive_some(CHUNK))
        except trio.BrokenResourceError:
            data = b""
        self.closed = not data
        return data

    def ended(self) -> StreamEndedError:
        return StreamEndedError(f"the event stream of Skaffold at {self._address.url} has ended; waiting for a new one")

    def _not_skaffold(self, answer: str) -> NotSkaffoldError:
        method, path = self._target
        return NotSkaffoldError(
            f"{method} {self._address.url}{path} was answered with {answer}: that is not Skaffold's event API; "
            "is it the port given to skaffold with --rpc-http-port?"
        )
