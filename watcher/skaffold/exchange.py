"""Owns one HTTP/1.1 request to Skaffold on one connection: it is sent, and the answer comes as h11's events.

Refuses to know what the answer means, and to close the connection: how that is done matters to Skaffold (stream.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import h11
import trio

from watcher.errors import NotSkaffoldError, StreamEndedError
from watcher.skaffold.address import ApiAddress

Dial = Callable[[ApiAddress], Awaitable[trio.abc.HalfCloseableStream]]

# Skaffold writes without waiting for us up to what the kernel holds (megabytes); this is one read's share of it.
CHUNK = 1 << 16
# A connection on the loopback interface is made or refused at once; a far one (a tunnel) may take some round trips.
_CONNECT = 10.0


async def connect(address: ApiAddress) -> trio.abc.HalfCloseableStream:
    """A plain TCP connection, nothing sent yet. Raises OSError, or trio.TooSlowError after 10 s."""
    with trio.fail_after(_CONNECT):
        return await trio.open_tcp_stream(address.host, address.port)


class Exchange:
    """`method` and `path`, asked of the Skaffold at `address` over `stream`, which is the caller's to close.

    `asked`: whether a byte of it may have been sent. `over`: the far side has closed, nobody is left to be polite to.
    """

    def __init__(self, stream: trio.abc.HalfCloseableStream, address: ApiAddress, method: str, path: str) -> None:
        self.asked = False
        self.over = False
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._address = address
        self._request = method, path

    async def ask(self, body: bytes = b"") -> None:
        """Sends the request; cancelled it may have been sent in part. Raises StreamEndedError."""
        method, path = self._request
        headers = [("Host", self._address.authority), ("Accept", "application/json"), ("User-Agent", "portside")]
        if body:
            headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        events = [h11.Request(method=method, target=path, headers=headers), h11.Data(body), h11.EndOfMessage()]
        sent = b"".join(self._http.send(event) or b"" for event in events)
        self.asked = True
        try:
            await self._stream.send_all(sent)
        except trio.BrokenResourceError:
            self.over = True
            raise self.ended() from None

    async def head(self) -> None:
        """Returns once the head of a good answer has come. Raises as `next`, NotSkaffoldError for another one."""
        while True:
            match await self.next():
                case h11.Response(status_code=200):
                    return
                case h11.Response(status_code=status):
                    raise self._stranger(f"HTTP status {status}")
                case _:
                    pass

    async def next(self) -> h11.Event:
        """The next HTTP event; between the socket and the return nothing awaits, so cancelling loses no byte.

        Raises StreamEndedError where the connection ends first, NotSkaffoldError for what is no HTTP.
        """
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._read())
        except h11.RemoteProtocolError:
            if self.over:  # the body breaks off without its last chunk, however Skaffold ends
                raise self.ended() from None
            raise self._stranger("something that is no HTTP/1.1") from None
        if not isinstance(event, h11.Event):  # PAUSED: asked for more after the end
            raise self.ended()
        return event

    async def _read(self) -> bytes:
        try:
            data = bytes(await self._stream.receive_some(CHUNK))
        except trio.BrokenResourceError:
            data = b""
        self.over = not data
        return data

    def ended(self) -> StreamEndedError:
        return StreamEndedError(f"the event stream of Skaffold at {self._address.url} has ended; waiting for a new one")

    def _stranger(self, answer: str) -> NotSkaffoldError:
        method, path = self._request
        return NotSkaffoldError(
            f"{method} {self._address.url}{path} was answered with {answer}: that is not Skaffold's event API; "
            "is it the port given to skaffold with --rpc-http-port?"
        )
