"""Opens the listening sockets of a forward, keeps them, and accepts connections there.

A port is tested by binding it, and the bound socket is kept: it is never probed first. 127.0.0.1 also means ::1 if the
host has it, as with kubectl. The order of the ports to try comes from `spec.PortBook`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
from collections.abc import Awaitable, Callable

import trio

from forwarders.early_ports import LOOPBACK, NO_SUCH_ADDRESS, listen_on_all
from forwarders.errors import BindError
from forwarders.spec import ForwardSpec, PortBook, PortPolicy
from forwarders.system import files
from forwarders.system.processes import owner_suffix
from forwarders.system.tcp import port_denied_reason
from forwarders.tasks import Tasks
from forwarders.transports.sockets import RawSocket

logger = logging.getLogger("portside.forwards")

# If the system chooses a port for one address family, it may be taken on the other.
SYSTEM_TRIES = 20
# Seconds that the bind error may be delayed to look up the port's owner.
OWNER_TIMEOUT = 2.0

# accept(2) failed for lack of a resource that returns: file descriptors, memory.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
ACCEPT_PAUSE, WARN_AGAIN = 0.1, 30.0
# Connections accepted before the earlier ones have their first turn.
AT_ONCE = 16


class Bound:
    """The listening sockets of one forward, all on `port`. `remark`: why it is not the requested port, "" if it is."""

    def __init__(self, sockets: list[socket.socket], remark: str) -> None:
        self.sockets = sockets
        self.port: int = sockets[0].getsockname()[1]
        self.remark = remark

    def close(self) -> None:
        for sock in self.sockets:
            trio.lowlevel.notify_closing(sock)
            sock.close()


async def bind(spec: ForwardSpec, book: PortBook) -> Bound:
    """Listen on the first port of the book's choices that can be bound. Raises BindError."""
    addresses = await listen_addresses(spec.address)
    asked = spec.port.number
    refusal = ""
    reserved = f"port {asked} is asked for by another entry" if book.keeps_from(spec, asked) else ""
    for port in book.choices(spec):
        try:
            sockets = _listen(addresses, port)
        except OSError as error:
            if error.errno in NO_SUCH_ADDRESS:
                raise BindError(
                    f"cannot listen on {spec.address}: {error.strerror}; give an address of this machine"
                ) from error
            if port == asked or not (refusal or reserved):
                refusal = await _refusal(spec.address, port, error, book)
            continue
        chosen = sockets[0].getsockname()[1]
        if asked and chosen != asked and not refusal:
            refusal = reserved or f"port {asked} was not free at another address of this entry"
        bound = Bound(sockets, f"{refusal}; using {chosen}" if refusal and asked else "")
        book.took(spec, bound.port)
        return bound
    remedy = (
        "free it or ask for another" if spec.port.policy is PortPolicy.DEMANDED else "no substitute was free either"
    )
    raise BindError(f"{refusal or reserved}; {remedy}")


async def listen_addresses(address: str) -> list[tuple[socket.AddressFamily, str]]:
    """Resolve `address` to the addresses to listen on: 127.0.0.1 also means ::1. Raises BindError."""
    if address in {"127.0.0.1", "localhost"}:
        return list(LOOPBACK)
    try:
        found = await trio.socket.getaddrinfo(address, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise BindError(f"address {address!r} cannot be resolved: {error}; give an address of this machine") from error
    return list(dict.fromkeys((family, str(sockaddr[0])) for family, _, _, _, sockaddr in found))


def _listen(addresses: list[tuple[socket.AddressFamily, str]], port: int) -> list[socket.socket]:
    for _ in range(0 if port else SYSTEM_TRIES):
        with contextlib.suppress(OSError):
            return listen_on_all(addresses, port)
    return listen_on_all(addresses, port)


async def _refusal(address: str, port: int, error: OSError, book: PortBook) -> str:
    if error.errno == errno.EACCES:
        return port_denied_reason(port)
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {address} is taken{await _by_whom(port, book)}"
    return f"port {port} on {address} cannot be bound: {error.strerror}"


async def _by_whom(port: int, book: PortBook) -> str:
    """Names the owner of a taken port. The look-up reads every process: in a thread, and once a plan for each port."""
    if book.holds(port):
        return " by another forward"
    if port not in book.owners:
        book.owners[port] = ""
        with trio.move_on_after(OWNER_TIMEOUT):
            book.owners[port] = await trio.to_thread.run_sync(owner_suffix, port, abandon_on_cancel=True)
    return book.owners[port]


async def accept(listener: RawSocket, name: str, tasks: Tasks, serve: Callable[[RawSocket], Awaitable[None]]) -> None:
    """Accept connections until cancelled; start `serve` in `tasks` for each. `name`: the listener's, for the log."""
    paused_at = -WARN_AGAIN
    in_turn = 0
    while True:
        try:
            sock, _ = listener.socket.accept()
        except BlockingIOError:
            await trio.lowlevel.wait_readable(listener.socket)
            continue
        except OSError as error:
            if error.errno in _EXHAUSTED:
                paused_at = await _pause(name, error.strerror, paused_at)
            # Any other error concerns one connection that broke before it was accepted (accept(2)).
            await trio.lowlevel.checkpoint()
            continue
        tasks.start(serve, RawSocket(sock))
        if files.is_reserved(sock.fileno()):
            paused_at = await _pause(name, "few file descriptors are left", paused_at)
        elif (in_turn := in_turn + 1) % AT_ONCE == 0:
            await trio.lowlevel.checkpoint()


async def _pause(name: str, why: str | None, paused_at: float) -> float:
    """Waits while file descriptors are scarce: new connections queue in the kernel. Returns when that began.

    `paused_at`: when it last began; pauses that follow each other are one warning.
    """
    now = trio.current_time()
    if now - paused_at >= WARN_AGAIN:
        logger.warning("%s: accepting pauses: %s; raise `ulimit -n`", name, why)
    await trio.sleep(ACCEPT_PAUSE)
    while files.descriptors_are_scarce():  # noqa: ASYNC110 - the system has no event for it
        await trio.sleep(ACCEPT_PAUSE)
    return now
