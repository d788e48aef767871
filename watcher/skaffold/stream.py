"""Owns one connection to Skaffold's GET /v2/events: asking for it, reading at full speed, leaving without harm.

Refuses to understand events, to reconnect and to wait for anything but bytes: a reader that stalls freezes Skaffold,
and one that leaves at the wrong moment ends it (its listeners are called under a lock, event/v2/event.go; a write to a
closed socket raises SIGPIPE, which its Ctrl-C context catches, cmd/skaffold/app/skaffold.go).
"""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime

import h11
import trio

from watcher.skaffold.address import ApiAddress
from watcher.skaffold.errors import NotSkaffoldError, StreamEndedError
from watcher.skaffold.replay import Replay

logger = logging.getLogger("portside.skaffold")

PATH = "/v2/events"
# Skaffold writes without waiting for us up to what the kernel holds (megabytes); this is one read's share of it.
_CHUNK = 1 << 16
# A connection on the loopback interface is made or refused at once; a far one (a tunnel) may take some round trips.
_CONNECT = 10.0
# Leaving, in seconds. A listener that fails in the replay stays registered, and the next event waits for it for ever,
# the log's lock held (event/v2/event.go, forEach and log): so nobody leaves before the replay is over. It is when all
# has been silent for _QUIET, or nothing but live events has come for so long, on a stream of at least _YOUNG seconds (a
# Skaffold whose clock is ahead of ours has no old events to our eyes). A long log is replayed at thousands of events a
# second; _LONGEST is for one that is stuck. Skaffold closes within 15 ms of our FIN, or seconds on a busy machine:
# until then what it writes is read, or its write would raise SIGPIPE.
_QUIET, _YOUNG, _LONGEST = 0.25, 2.0, 10.0
_CLOSE = 2.0
_SAY_AFTER = 1.0


async def connect(address: ApiAddress) -> trio.abc.HalfCloseableStream:
    """A plain TCP connection, nothing sent yet. Raises OSError, or trio.TooSlowError after 10 s."""
    with trio.fail_after(_CONNECT):
        return await trio.open_tcp_stream(address.host, address.port)


class EventStream:
    """The response body of one GET /v2/events over `stream`, which it owns from now on.

    A context manager: its exit leaves politely, however the block ended: at once as a rule, after 12 s at most.
    """

    def __init__(self, stream: trio.abc.HalfCloseableStream, address: ApiAddress) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._address = address
        self._began = trio.current_time()
        self._replay = Replay(datetime.now(UTC), self._began)
        self._over = False  # the far side has closed: nobody is left to be polite to

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            if not self._over:
                await self._leave()
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
        self._replay.feed(data, trio.current_time())
        return data

    async def _leave(self) -> None:
        """Read the replay to its end, shut down our sending side only, read until Skaffold closes.

        A plain close while bytes are unread would send a reset.
        """
        try:
            with trio.move_on_after(_LONGEST):
                await self._read_replay()
            await self._stream.send_eof()
            with trio.move_on_after(_CLOSE):
                while await self._stream.receive_some(_CHUNK):
                    pass
        except (trio.BrokenResourceError, OSError):
            return  # it closed first

    async def _read_replay(self) -> None:
        say_at = trio.current_time() + _SAY_AFTER
        while not self._is_settled():
            with trio.move_on_after(_QUIET) as wait:
                data = await self._stream.receive_some(_CHUNK)
                if not data:
                    return
                self._replay.feed(data, trio.current_time())
            if wait.cancelled_caught:
                return
            if trio.current_time() >= say_at:
                say_at = math.inf
                logger.info("Skaffold still tells what it did so far; leaving it before it is done would freeze it")

    def _is_settled(self) -> bool:
        """Whether nothing but live events has come for a while."""
        now = trio.current_time()
        return now - self._began >= _YOUNG and now - self._replay.last_old >= _QUIET

    def _ended(self) -> StreamEndedError:
        return StreamEndedError(f"the event stream of Skaffold at {self._address.url} has ended; waiting for a new one")

    def _stranger(self, answer: str) -> NotSkaffoldError:
        return NotSkaffoldError(
            f"GET {self._address.url}{PATH} was answered with {answer}: that is not Skaffold's event API; "
            "is it the port given to skaffold with --rpc-http-port?"
        )
