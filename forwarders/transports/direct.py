"""TCP straight to an address, without an API server: one connection for each local connection, nothing shared.

A container is always reached so (`DirectUpstream`). A pod may be, besides its sessions (`own_address`).
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable

import trio

from forwarders.errors import DialError, TunnelError
from forwarders.spec import Endpoint
from forwarders.system.splice import CAN_SPLICE, TargetBrokenError, splice
from forwarders.system.tcp import error_text, local_options, set_options
from forwarders.tasks import Tasks
from forwarders.transports.sockets import READ_SIZE, Piece, RawSocket

# Seconds. Containers are on this machine: a SYN that is not answered at once is lost.
CONTAINER_TIMEOUT = 3.0
# Bytes after which a download is spliced, also after a pause: a pipe costs two descriptors and some system calls.
SPLICE_AFTER = 1024 * 1024


class DirectUpstream:
    """The way to a container's own address (`tunnel.Upstream`): it is always up."""

    problem = ""
    forbidden = False
    up = True

    def __init__(self, address: str) -> None:
        self._address = address

    def own_session_comes(self, endpoint: Endpoint) -> bool:  # noqa: ARG002 - the protocol's signature
        """Connections share nothing."""
        return False

    def open(self, endpoint: Endpoint, waiting: int = 1) -> DirectTunnel:  # noqa: ARG002 - there is room for all
        return DirectTunnel(self._address, endpoint.port, CONTAINER_TIMEOUT)

    def via(self, endpoint: Endpoint) -> str:  # noqa: ARG002 - the protocol's signature
        """Not through an API server, and not to a pod."""
        return ""


class DirectTunnel:
    """One TCP connection (`tunnel.TunnelProtocol`), made by the first call that needs it.

    `error`: a DialError if it cannot be made; every call that needs the connection raises it too. `failure`: why
    nothing can be copied to the client.
    """

    half_closes = True

    def __init__(self, address: str, port: int, timeout: float) -> None:
        self._address = address
        self._port = port
        self._timeout = timeout
        self._socket: RawSocket | None = None
        self._refused: DialError | None = None
        self._dialling = trio.Lock()
        self._over = trio.Event()
        self._ended = False
        self.received = 0
        self.error: TunnelError | None = None
        self.failure: Exception | None = None

    @property
    def finished(self) -> bool:
        return self._over.is_set()

    async def wait_finished(self) -> None:
        await self._over.wait()

    def copy_to(self, local: RawSocket, tasks: Tasks, on_bytes: Callable[[], None]) -> None:
        tasks.start(self._copy, local, tasks, on_bytes)

    async def _copy(self, local: RawSocket, tasks: Tasks, on_bytes: Callable[[], None]) -> None:
        unspliced_from = 0
        try:
            remote = await self._connected()
            while data := await remote.receive():
                self.received += len(data)
                on_bytes()
                if not await self._pass_on(data, local):
                    break
                if CAN_SPLICE and self.received - unspliced_from >= SPLICE_AFTER and local.may_splice:
                    if await self._splice(remote, local, on_bytes):
                        break
                    unspliced_from = self.received
                await trio.lowlevel.checkpoint()
        except DialError as error:
            self.error = error
        except OSError as error:
            self.error = TunnelError(self._reason(error))
        self._over.set()
        tasks.cancel()

    async def _pass_on(self, data: bytes, local: RawSocket) -> bool:
        try:
            local.before_send([data])
            await local.send(data)
        except Exception as error:  # noqa: BLE001 - raised by the connection's own task
            self.failure = error
        return self.failure is None

    async def _splice(self, remote: RawSocket, local: RawSocket, on_bytes: Callable[[], None]) -> bool:
        """Whether this direction is over."""

        def moved(count: int) -> None:
            self.received += count
            on_bytes()

        try:
            return await splice(remote.socket, local.socket, moved)
        except TargetBrokenError as error:
            self.failure = error.__cause__ if isinstance(error.__cause__, OSError) else error
            return True

    async def write(self, data: Piece) -> None:
        """After the peer's reset bytes are dropped: what it has written is still to be read."""
        remote = await self._connected()
        view = memoryview(data)
        while view and not self.finished:
            try:
                await remote.send(view[:READ_SIZE])
            except OSError:
                return
            view = view[READ_SIZE:]

    async def confirm(self) -> bool:
        """An established connection is proof enough: it is never dialled again."""
        await self._connected()
        return True

    def end(self) -> None:
        """Sends our FIN, which TCP passes on as it is."""
        self._ended = True
        if self._socket is not None:
            self._socket.shutdown_writing()

    def abort(self) -> None:
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            # After our FIN the kernel still delivers what was sent; a reset would drop it.
            self._socket.close() if self.finished or self._ended else self._socket.reset()

    async def _connected(self) -> RawSocket:
        return self._socket or await self._dialled()

    async def _dialled(self) -> RawSocket:
        async with self._dialling:
            if self._refused is not None:
                raise self._refused
            return self._socket or await self._dial()

    async def _dial(self) -> RawSocket:
        try:
            with trio.fail_after(self._timeout):
                self._socket = await _connect(self._address, self._port)
        except (OSError, trio.TooSlowError) as error:
            self._refused = self._dial_error(error)
            self._over.set()
            raise self._refused from error
        if self._ended:
            self._socket.shutdown_writing()
        return self._socket

    def _dial_error(self, error: OSError | trio.TooSlowError) -> DialError:
        return DialError(self._reason(error))

    def _reason(self, error: OSError | trio.TooSlowError) -> str:
        if isinstance(error, trio.TooSlowError):
            return f"{self._address}:{self._port} does not answer"
        return f"connection to {self._address}:{self._port}: {error.strerror or error}"


async def _connect(address: str, port: int) -> RawSocket:
    """Connects to an IP address, without happy eyeballs, which would cost more than the connection. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003 - its only argument
        set_options(sock, local_options())
        code = sock.connect_ex((address, port))
        if code in {errno.EINPROGRESS, errno.EWOULDBLOCK}:
            await trio.lowlevel.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, error_text(code))
    except BaseException:
        sock.close()
        raise
    return RawSocket(sock)
