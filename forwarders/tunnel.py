"""A forwarded connection on a session (`Tunnel`), and the protocols that every way to a pod implements.

The session reads and writes for all its tunnels. A tunnel buffers what the session has read until it is taken.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Protocol

import trio

from forwarders.errors import DialError, TunnelError
from forwarders.spec import Endpoint
from forwarders.tasks import Notifier, Tasks
from forwarders.transports.sockets import Piece, RawSocket
from forwarders.wire.runtimes import MAX_TAKEN_FRAME, Meaning, meaning, shape

logger = logging.getLogger("portside.sessions")

# Unread bytes at which a tunnel is full and its session pauses, since spdystream has no flow control per stream: enough
# to ride out a scheduling delay at 300 MB/s, little beside a session's TLS state.
RECEIVE_LIMIT = 512 * 1024
# The largest DATA frame; the peer allocates each as a whole.
FRAME_SIZE = MAX_TAKEN_FRAME


class TunnelProtocol(Protocol):
    """The remote half of one forwarded connection: a Tunnel, or a TCP connection (`transports.direct.DirectTunnel`).

    `received`: bytes so far. `error`: why it is over, None after a good end. `failure`: why nothing more can be copied
    to the local socket. `half_closes`: after our FIN the answer still arrives.
    """

    received: int
    error: TunnelError | None
    failure: Exception | None
    half_closes: bool

    @property
    def finished(self) -> bool:
        """Whether the connection is over in both directions."""

    def copy_to(self, local: RawSocket, tasks: Tasks, on_bytes: Callable[[], None]) -> None:
        """Copy what arrives to `local`. Cancels `tasks` when all is copied or nothing can be.

        `on_bytes` is called when bytes have arrived, before they go on.
        """

    async def write(self, data: Piece) -> None:
        """Queue `data`, which must not change afterwards. After the end it is dropped, as TCP would drop it."""

    async def take_from(self, local: RawSocket, on_taken: Callable[[int], None]) -> bool:
        """Let the kernel copy the client's bytes until their end; False if the caller has to go on."""

    async def confirm(self) -> bool:
        """Wait until the pod's end has taken what was sent; False if the connection is over instead."""

    async def wait_finished(self) -> None: ...

    def end(self) -> None:
        """End sending: FIN."""

    def abort(self) -> None:
        """Close at once: the pod's end is reset unless the connection is over."""


class Upstream(Protocol):
    """The way to one pod: the pool of its sessions, or TCP to an address (`transports.direct.DirectUpstream`).

    `problem`: why there is no way at present, "" otherwise. `forbidden`: the problem is a missing permission.
    """

    problem: str
    forbidden: bool

    @property
    def up(self) -> bool:
        """Whether a connection can be opened now, as far as is known."""

    def own_session_comes(self, endpoint: Endpoint) -> bool:
        """Whether one more connection should wait a moment for a session of its own instead of sharing one."""

    def open(self, endpoint: Endpoint, waiting: int) -> TunnelProtocol | None:
        """A connection to the endpoint's port; None if all `waiting` ones must wait for a change."""

    def via(self, endpoint: Endpoint) -> str:
        """How the next connection gets to the pod: a value of `spec.Status.via`."""


class SessionHandle(Protocol):
    """The methods of a Session that its tunnels call; `pair` identifies the tunnel."""

    async def send(self, pair: int, data: Piece) -> None: ...
    def send_eof(self, pair: int) -> None: ...
    def abort(self, pair: int) -> None: ...
    async def confirm(self, pair: int) -> bool: ...


class Tunnel:
    """One connection to a pod's port, as a pair of SPDY streams. `error`: a DialError only if nothing was received."""

    half_closes = False

    def __init__(self, session: SessionHandle, pair: int) -> None:
        self._session = session
        self._pair = pair
        self._pieces: list[Piece] = []
        self._on_data: Callable[[], None] | None = None
        self._ended = Notifier()
        self._drained = Notifier()
        self._eof_sent = False
        self.opened_at = trio.current_time()
        self.unread = 0
        self.received = 0
        self.finished = False
        self.closed = False
        self.error: TunnelError | None = None
        self.failure: Exception | None = None

    # For the session

    def feed(self, data: Piece) -> None:
        """Buffer `data`. Call `announce` once for all data that arrived together."""
        self._pieces.append(data)
        self.unread += len(data)
        self.received += len(data)

    def announce(self) -> None:
        if self._on_data is not None:
            self._on_data()

    def finish(self, error: TunnelError | None) -> None:
        """The pair is over. After received bytes a DialError becomes a TunnelError: they cannot be taken back."""
        if self.finished:
            return
        if isinstance(error, DialError) and self.received:
            error = TunnelError(str(error))
        self.finished = True
        self.error = error
        self.announce()
        self._ended.fire()
        self._drained.fire()

    def fail(self, error: TunnelError) -> None:
        """End the tunnel with `error` without waiting for the runtime."""
        self._session.abort(self._pair)
        self.finish(error)

    @property
    def full(self) -> bool:
        return self.unread >= RECEIVE_LIMIT and not self.finished and not self.closed

    async def wait_drained(self) -> None:
        while self.full:
            await self._drained.wait()

    # For the connection (TunnelProtocol)

    def copy_to(self, local: RawSocket, tasks: Tasks, on_bytes: Callable[[], None]) -> None:
        self.on_data(DownstreamPump(self, local, tasks, on_bytes).on_data)

    def on_data(self, callback: Callable[[], None]) -> None:
        """Call `callback`, which must not raise, when there is something to take, and at the end."""
        self._on_data = callback
        if self._pieces or self.finished:
            callback()

    def take_pieces(self) -> list[Piece]:
        """Take everything out of the buffer."""
        pieces, self._pieces = self._pieces, []
        self.unread = 0
        self._drained.fire()
        return pieces

    async def write(self, data: Piece) -> None:
        if len(data) <= FRAME_SIZE:
            await self._session.send(self._pair, data)
            return
        view = memoryview(data)
        while view and not self.finished:
            await self._session.send(self._pair, view[:FRAME_SIZE])
            view = view[FRAME_SIZE:]

    async def take_from(self, local: RawSocket, on_taken: Callable[[int], None]) -> bool:  # noqa: ARG002 - the protocol's signature
        """Never lets the kernel copy the bytes: they must be put into frames."""
        return False

    async def confirm(self) -> bool:
        return self.received > 0 or await self._session.confirm(self._pair)

    async def wait_finished(self) -> None:
        while not (self.finished or self.closed):
            await self._ended.wait()

    def end(self) -> None:
        """Queue FIN; the runtime cuts the answer off 1 s later."""
        if not self._eof_sent:
            self._eof_sent = True
            self._session.send_eof(self._pair)

    def abort(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._on_data = None
        self._pieces.clear()
        self.unread = 0
        self._session.abort(self._pair)
        self._ended.fire()
        self._drained.fire()


class DownstreamPump:
    """Copies data from the tunnel to the local socket as it arrives.

    Runs in the session's task, so it must not block: what the socket has no room for is sent by a task of `tasks`, and
    the tunnel's bound holds for what arrives meanwhile. Cancels `tasks` when all is copied or nothing can be.
    `on_bytes` is called when bytes have arrived, before they go on.
    """

    def __init__(self, tunnel: Tunnel, local: RawSocket, tasks: Tasks, on_bytes: Callable[[], None]) -> None:
        self._tunnel = tunnel
        self._local = local
        self._tasks = tasks
        self._on_bytes = on_bytes
        self._catching_up = False

    def on_data(self) -> None:
        """The tunnel has data, or is over. Never raises: its caller serves other connections too."""
        if self._catching_up:
            return
        try:
            left = self._local.send_pieces_now(self._taken())
        except Exception as error:  # noqa: BLE001 - raised by the connection's own task
            self._fail(error)
            return
        if left:
            self._catching_up = True
            self._tasks.start(self._catch_up, left)
        elif self._tunnel.finished:
            self._tasks.cancel()

    async def _catch_up(self, pieces: list[Piece]) -> None:
        try:
            while pieces:
                await self._local.send_pieces(pieces)
                pieces = self._taken()
        except OSError as error:
            self._fail(error)
            return
        self._catching_up = False
        self.on_data()

    def _taken(self) -> list[Piece]:
        pieces = self._tunnel.take_pieces()
        if pieces:
            self._on_bytes()
            self._local.before_send(pieces)
        return pieces

    def _fail(self, error: Exception) -> None:
        self._tunnel.failure = error
        self._tasks.cancel()


def classify(text: str) -> TunnelError:
    """Turn the runtime's error text into a DialError or a TunnelError (wire/runtimes.py knows the texts)."""
    match meaning(text):
        case Meaning.GONE:
            return DialError(text, sandbox_gone=True)
        case Meaning.REFUSED:
            return DialError(text)
        case Meaning.BROKEN:
            return TunnelError(text)
        case Meaning.UNKNOWN:
            _request_report(shape(text))
            return TunnelError(text)


@functools.lru_cache(maxsize=32)
def _request_report(text: str) -> None:
    """Logs an unknown error text, once for each kind of text."""
    logger.warning("the container runtime gave an error that portside does not know; please report it: %s", text)
