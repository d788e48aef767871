"""TCP straight to an address, without an API server: one connection for each local connection, nothing shared.

To the rest of this package it is one more way to a pod (`tunnel.Upstream`), and it is always up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import trio

from forwarders.errors import DialError, TunnelError
from forwarders.system.tcp import local_options
from forwarders.tasks import Notifier, Tasks
from forwarders.transports.sockets import READ_SIZE, Piece, RawSocket, connect_tcp

# Containers are on this machine: a SYN that is not answered at once is lost.
CONNECT_TIMEOUT = 3.0


class DirectUpstream:
    """The way to a container's own address."""

    problem = ""
    forbidden = False
    up = True

    def __init__(self, address: str) -> None:
        self._address = address

    def own_session_comes(self) -> bool:
        """Connections share nothing."""
        return False

    def open(self, port: int, waiting: int = 1) -> DirectTunnel:  # noqa: ARG002 - there is room for all
        return DirectTunnel(self._address, port)


class DirectTunnel:
    """One TCP connection, made by the first call that needs it. `error`: a DialError if it cannot be made.

    Every call that needs the connection raises that error too.
    """

    def __init__(self, address: str, port: int) -> None:
        self._address = address
        self._port = port
        self._socket: RawSocket | None = None
        self._refused: DialError | None = None
        self._dialling = trio.Lock()
        self._over = trio.Event()
        self._ended = False
        self._pieces: list[Piece] = []
        self._taken = Notifier()
        self.received = 0
        self.error: TunnelError | None = None

    @property
    def finished(self) -> bool:
        return self._over.is_set()

    async def wait_finished(self) -> None:
        await self._over.wait()

    def on_data(self, callback: Callable[[], None], tasks: Tasks) -> None:
        """As a Tunnel's; reads in one of `tasks`, one piece ahead of what is taken."""
        tasks.start(self._read, callback)

    def take_pieces(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        self._taken.fire()
        return pieces

    async def _read(self, callback: Callable[[], None]) -> None:
        try:
            local = await self._connected()
            while data := await local.receive():
                self.received += len(data)
                self._pieces.append(data)
                callback()
                await trio.lowlevel.checkpoint()
                while self._pieces:
                    await self._taken.wait()
        except DialError as error:
            self.error = error
        except OSError as error:
            self.error = TunnelError(self._reason(error))
        self._over.set()
        callback()

    async def write(self, data: Piece) -> None:
        """After the peer's reset bytes are dropped: what it has written is still to be read."""
        local = await self._connected()
        view = memoryview(data)
        while view and not self.finished:
            try:
                await local.send(view[:READ_SIZE])
            except OSError:
                return
            view = view[READ_SIZE:]

    async def confirm(self) -> bool:
        """An established connection is proof enough: it is never dialled again."""
        await self._connected()
        return True

    def end(self) -> None:
        """Our FIN, which TCP carries as it is."""
        self._ended = True
        if self._socket is not None:
            self._socket.shutdown_writing()

    def abort(self) -> None:
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            ended = self.finished
            self._socket.close() if ended else self._socket.reset()

    async def _connected(self) -> RawSocket:
        async with self._dialling:
            if self._refused is not None:
                raise self._refused
            if self._socket is None:
                try:
                    with trio.fail_after(CONNECT_TIMEOUT):
                        self._socket = await connect_tcp(self._address, self._port, local_options())
                except OSError as error:
                    self._refused = DialError(self._reason(error))
                except trio.TooSlowError:
                    self._refused = DialError(f"{self._address}:{self._port} does not answer")
                if self._socket is None:
                    self._over.set()
                    raise self._refused or DialError(f"{self._address}:{self._port} does not answer")
                if self._ended:
                    self._socket.shutdown_writing()
            return self._socket

    def _reason(self, error: OSError) -> str:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error  # trio has one for all attempts
        return f"connection to {self._address}:{self._port}: {cause.strerror or cause}"
