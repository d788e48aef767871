"""Owns one connection to Skaffold's GET /v2/events: asking for it, reading at full speed, leaving without harm.

Refuses to understand events, to reconnect and to wait for anything but bytes: a reader that stalls freezes Skaffold,
and one that leaves at the wrong moment ends it (its listeners are called under a lock, event/v2/event.go; a write to a
closed socket raises SIGPIPE, which its Ctrl-C context catches, cmd/skaffold/app/skaffold.go).
"""

from __future__ import annotations

import h11
import trio

from watcher.skaffold.address import ApiAddress
from watcher.skaffold.errors import NotSkaffoldError, StreamEndedError

PATH = "/v2/events"
# Skaffold writes without waiting for us up to what the kernel holds (megabytes); this is one read's share of it.
_CHUNK = 1 << 16
# A connection on the loopback interface is made or refused at once; a far one (a tunnel) may take some round trips.
_CONNECT = 10.0
# Leaving, in seconds. Found in 100 of 100 cycles beside a redeploying Skaffold: silence for a quarter of a second means
# that its replay is over and everything is read; it closes within 15 ms of our FIN.
_QUIET = 0.25
_DRAIN = 2.0
_CLOSE = 0.25


async def connect(address: ApiAddress) -> trio.abc.HalfCloseableStream:
    """A plain TCP connection, nothing sent yet. Raises OSError, or trio.TooSlowError after 10 s."""
    with trio.fail_after(_CONNECT):
        return await trio.open_tcp_stream(address.host, address.port)


class EventStream:
    """The response body of one GET /v2/events over `stream`, which it owns from now on.

    A context manager: its exit leaves politely, however the block ended, and takes 2.5 s at most.
    """

    def __init__(self, stream: trio.abc.HalfCloseableStream, address: ApiAddress) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._address = address
        self._over = False  # the far side has closed: nobody is left to be polite to

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            if not self._over:
                await _leave(self._stream)
            await self._stream.aclose()

    async def open(self) -> None:
        """Asks and waits for the head of the answer, which Skaffold sends with its first event. Raises as `receive`."""
        await self._ask()
        while True:
            match await self._next():
                case h11.Response(status_code=200):
                    return
                case h11.Response(status_code=status):
                    raise self._stranger(f"HTTP status {status}")
                case _:
                    pass

    async def receive(self) -> bytes:
        """The next piece of the body, cut anywhere; waits for it without limit and may be cancelled without loss.

        Raises StreamEndedError when the stream is over, NotSkaffoldError where the answer is no event stream.
        """
        while True:
            match await self._next():
                case h11.Data(data=data):
                    return bytes(data)
                case h11.EndOfMessage():
                    self._over = True
                    raise self._ended()
                case _:
                    pass

    async def _next(self) -> h11.Event:
        """The next HTTP event. Between the socket and the return nothing awaits, so cancelling loses no byte."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._read())
        except h11.RemoteProtocolError:
            if self._over:  # the body breaks off without its last chunk, however Skaffold ends
                raise self._ended() from None
            raise self._stranger("something that is no HTTP/1.1") from None
        if not isinstance(event, h11.Event):  # PAUSED: asked for more after the end
            raise self._ended()
        return event

    async def _ask(self) -> None:
        headers = [("Host", self._address.authority), ("Accept", "application/json"), ("User-Agent", "portside")]
        request = self._http.send(h11.Request(method="GET", target=PATH, headers=headers)) or b""
        try:
            await self._stream.send_all(request + (self._http.send(h11.EndOfMessage()) or b""))
        except trio.BrokenResourceError:
            self._over = True
            raise self._ended() from None

    async def _read(self) -> bytes:
        try:
            data = bytes(await self._stream.receive_some(_CHUNK))
        except trio.BrokenResourceError:
            data = b""
        self._over = not data
        return data

    def _ended(self) -> StreamEndedError:
        return StreamEndedError(f"the event stream of Skaffold at {self._address.url} has ended; waiting for a new one")

    def _stranger(self, answer: str) -> NotSkaffoldError:
        return NotSkaffoldError(
            f"GET {self._address.url}{PATH} was answered with {answer}: that is not Skaffold's event API; "
            "is it the port given to skaffold with --rpc-http-port?"
        )


async def _leave(stream: trio.abc.HalfCloseableStream) -> None:
    """Read on until all is quiet, shut down our sending side only, read until Skaffold closes. 2.5 s at most.

    A plain close while bytes are unread would send a reset.
    """
    with trio.move_on_after(_DRAIN + _CLOSE):
        try:
            with trio.move_on_after(_DRAIN):
                await _drain(stream, _QUIET)
            await stream.send_eof()
            with trio.move_on_after(_CLOSE):
                await _drain(stream, _CLOSE)
        except (trio.BrokenResourceError, OSError):
            return  # it closed first


async def _drain(stream: trio.abc.HalfCloseableStream, quiet: float) -> None:
    """Throws away what comes, until nothing has come for `quiet` seconds or the far side has closed."""
    silent = False
    while not silent:
        with trio.move_on_after(quiet) as wait:
            if not await stream.receive_some(_CHUNK):
                return
        silent = wait.cancelled_caught
