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
from forwarders.spec import Endpoint, authority
from forwarders.system.splice import CAN_SPLICE, TargetBrokenError, splice
from forwarders.system.tcp import SocketWatcher, error_text, local_options, set_options
from forwarders.tasks import Notifier, Tasks
from forwarders.transports.sockets import Piece, RawSocket

# Seconds. Containers are on this machine: a SYN that is not answered at once is lost.
CONTAINER_TIMEOUT = 3.0
# Bytes after which a download is spliced, also after a pause: a pipe costs two descriptors and some system calls.
SPLICE_AFTER = 1024 * 1024
# Bytes: a read of so many is part of a long answer, which gets a task of its own.
LONG_READ = 64 * 1024


class DirectUpstream:
    """The way to a container's own address (`tunnel.Upstream`): it is always up."""

    problem = ""
    forbidden = False
    up = True

    def __init__(self, address: str, watcher: SocketWatcher) -> None:
        self._address = address
        self._watcher = watcher

    def own_session_comes(self, endpoint: Endpoint) -> bool:  # noqa: ARG002 - the protocol's signature
        """Never: TCP connections share no session."""
        return False

    def open(self, endpoint: Endpoint, waiting: int = 1) -> DirectTunnel:  # noqa: ARG002 - there is room for all
        return DirectTunnel(self._address, endpoint.port, CONTAINER_TIMEOUT, self._watcher)

    def via(self, endpoint: Endpoint) -> str:  # noqa: ARG002 - the protocol's signature
        """Empty: a container is reached neither through an API server nor at a pod's address."""
        return ""


class DirectTunnel:
    """One TCP connection (`tunnel.TunnelProtocol`), made by the first call that needs it.

    `error`: a DialError if it cannot be made; every call that needs the connection raises it too. `failure`: why
    nothing can be copied to the client.
    """

    half_closes = True

    def __init__(self, address: str, port: int, timeout: float, watcher: SocketWatcher) -> None:
        self._address = address
        self._port = port
        self._timeout = timeout
        self._watcher = watcher
        self._socket: RawSocket | None = None
        self._connected = self._waits = self._ended = self._far_ended = False
        self._changed = Notifier()
        self.finished = False
        self.received = 0
        self.error: TunnelError | None = None
        self.failure: Exception | None = None

    async def wait_finished(self) -> None:
        while not self.finished:
            await self._changed.wait()

    # Pod to client

    def copy_to(self, local: RawSocket, tasks: Tasks, on_bytes: Callable[[], None]) -> None:
        self._local, self._tasks, self._on_bytes = local, tasks, on_bytes
        try:
            remote = self._connected_now()
        except DialError:
            self._finish()
        else:
            if remote is None or not self._watcher.watch_readable(remote.socket, self._on_readable):
                tasks.start(self._copy, b"")

    def _on_readable(self) -> None:
        """Passes a short answer on, in the watcher's task. What may take longer gets a task of its own."""
        if self._socket is None or self._tasks.over:
            return
        try:
            data = self._socket.receive_now()
        except BlockingIOError:
            return
        except OSError as error:
            self.error, data = TunnelError(self._reason(error)), b""
        left = self._pass_on(data) if data else b""
        if not data or self.failure is not None:
            self._far_end()
        elif left or len(data) >= LONG_READ:
            self._watcher.forget(self._socket.socket)
            self._tasks.start(self._copy, left)

    async def _copy(self, left: Piece) -> None:
        """Copies until the end; first what is left of the last read."""
        unspliced_from = 0
        try:
            remote = await self._connection()
            taken = await self._send(left)
            while taken and (data := await remote.receive()):
                taken = await self._send(self._pass_on(data))
                if taken and CAN_SPLICE and self.received - unspliced_from >= SPLICE_AFTER and self._local.may_splice:
                    if await splice(remote.socket, self._local.socket, self._count):
                        break
                    unspliced_from = self.received
                await trio.lowlevel.checkpoint()
        except DialError:
            pass
        except TargetBrokenError as error:
            self.failure = error.__cause__ if isinstance(error.__cause__, OSError) else error
        except OSError as error:
            self.error = TunnelError(self._reason(error))
        self._far_end()

    def _pass_on(self, data: bytes) -> Piece:
        """Passes bytes to the client; returns those without room. An error is raised by the connection's own task."""
        try:
            self._count(len(data))
            self._local.before_send([data])
            sent = self._local.send_now(data)
        except Exception as error:  # noqa: BLE001 - as above
            self.failure = error
            return b""
        return b"" if sent == len(data) else memoryview(data)[sent:]

    async def _send(self, data: Piece) -> bool:
        """Sends to the client; returns whether it still takes bytes."""
        try:
            await self._local.send(data)
        except OSError as error:
            self.failure = error
        return self.failure is None

    def _count(self, received: int) -> None:
        self.received += received
        self._on_bytes()

    def _far_end(self) -> None:
        """Nothing more is copied. After a FIN the peer may still read: it gets bytes until it or the client is gone."""
        self._far_ended = True
        if self._ended or self._socket is None or self.error is not None or self.failure is not None:
            self._finish()
        else:
            self._local.shutdown_writing()
            self._watcher.forget(self._socket.socket)
            self._watcher.watch_hangup(self._socket.socket, self._finish)

    def _finish(self) -> None:
        self._over()
        self._tasks.cancel()

    def _over(self) -> None:
        self.finished = True
        self._changed.fire()
        if self._socket is not None:
            self._watcher.forget(self._socket.socket)

    # Client to pod

    async def write(self, data: Piece) -> None:
        """Writes; after the peer's reset it drops the bytes, since what the peer has written is still to be read."""
        remote = self._connected_now() or await self._connection()
        try:
            await remote.send(data)
        except OSError:
            if self._far_ended:
                self._finish()

    async def take_from(self, local: RawSocket, on_taken: Callable[[int], None]) -> bool:
        remote = await self._connection()
        try:
            return CAN_SPLICE and local.is_raw and await splice(local.socket, remote.socket, on_taken)
        except TargetBrokenError:
            return False  # `write` drops the rest

    async def confirm(self) -> bool:
        """An established connection is proof enough: it is never dialled again."""
        await self._connection()
        return True

    def end(self) -> None:
        """Sends our FIN, which TCP passes on as it is."""
        if self._connected and self._socket is not None and not self._ended:
            self._socket.shutdown_writing()
        self._ended = True
        if self._far_ended:
            self._finish()

    def abort(self) -> None:
        remote, self._socket = self._socket, None
        if remote is None:
            return
        self._watcher.forget(remote.socket)
        with contextlib.suppress(OSError):
            # After our FIN the kernel still delivers what was sent; a reset would drop it.
            remote.close() if self.finished or self._ended else remote.reset()

    # The dial

    def _connected_now(self) -> RawSocket | None:
        """The connection if it is made: inside one machine that takes no time. Raises DialError."""
        if isinstance(self.error, DialError):
            raise self.error
        if self._socket is None:
            if not self._may_dial():
                return None
            try:
                self._socket = _connecting(self._address, self._port)
            except OSError as error:
                raise self._refused(self._reason(error)) from error
        if not self._connected:
            try:
                self._socket.socket.getpeername()
            except OSError:
                return None
            self._made(self._socket)
        return self._socket

    async def _connection(self) -> RawSocket:
        while (remote := self._connected_now()) is None:
            if self._waits:
                await self._changed.wait()
                continue
            self._waits = True
            try:
                await self._until_made()
            except (OSError, trio.TooSlowError) as error:
                raise self._refused(self._reason(error)) from error
            finally:
                self._waits = False
                self._changed.fire()
        return remote

    def _may_dial(self) -> bool:
        """Whether the connection may be made now; else `_until_made` waits for that."""
        return True

    async def _until_made(self) -> None:
        """Waits for the connection. Raises OSError, trio.TooSlowError, DialError."""
        if self._socket is not None:
            with trio.fail_after(self._timeout):
                await _writable(self._socket.socket)
            self._made(self._socket)

    def _made(self, remote: RawSocket) -> None:
        """The connection is made. Raises DialError if it is not to be used."""
        self._connected = True
        if self._ended:
            remote.shutdown_writing()

    def _refused(self, reason: str) -> DialError:
        self.error = error = self._dial_error(reason)
        self._over()
        return error

    def _dial_error(self, reason: str) -> DialError:
        return DialError(reason)

    def _reason(self, error: OSError | trio.TooSlowError) -> str:
        target = authority(self._address, self._port)
        if isinstance(error, trio.TooSlowError):
            return f"{target} does not answer"
        return f"connection to {target}: {error.strerror or error}"


def _connecting(address: str, port: int) -> RawSocket:
    """Connects to an IP address, without happy eyeballs, which would cost more than the connection. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        remote = RawSocket(sock)
        set_options(sock, local_options())
        code = sock.connect_ex((address, port))
        if code not in {0, errno.EINPROGRESS, errno.EWOULDBLOCK}:
            raise OSError(code, error_text(code))
    except BaseException:
        sock.close()
        raise
    return remote


async def _writable(sock: socket.socket) -> None:
    """Returns when the connection is made. Raises OSError."""
    await trio.lowlevel.wait_writable(sock)
    if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(code, error_text(code))
