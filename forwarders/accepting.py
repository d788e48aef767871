"""Accepts connections at a listener for as long as it lives, also while file descriptors or memory run out.

It does not serve them: each gets a task of its own.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable

import trio

from forwarders.system import files
from forwarders.tasks import Tasks
from forwarders.transports.sockets import RawSocket

logger = logging.getLogger("portside.forwards")

# accept(2) failed for want of something that comes back: file descriptors, memory.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
ACCEPT_PAUSE, WARN_AGAIN = 0.1, 30.0
# Connections accepted before those that were have their first turn.
AT_ONCE = 16


async def accept(listener: RawSocket, name: str, tasks: Tasks, serve: Callable[[RawSocket], Awaitable[None]]) -> None:
    """Starts `serve` among `tasks` for every connection, until cancelled. `name`: whose listener it is, for the log."""
    pause = _Pause(name)
    in_turn = 0
    while True:
        try:
            sock, _ = listener.socket.accept()
        except BlockingIOError:
            await trio.lowlevel.wait_readable(listener.socket)
            continue
        except OSError as error:
            if error.errno in _EXHAUSTED:
                await pause.last(error.strerror)
            # Anything else is the fate of one connection that broke before it was accepted (accept(2)).
            await trio.lowlevel.checkpoint()
            continue
        tasks.start(serve, RawSocket(sock))
        if files.is_reserved(sock.fileno()):
            await pause.last("few file descriptors are left")
        elif (in_turn := in_turn + 1) % AT_ONCE == 0:
            await trio.lowlevel.checkpoint()


class _Pause:
    """New connections wait in the kernel's queue; those that stand, and the sessions that they need, go on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._warned_at = -WARN_AGAIN

    async def last(self, why: str | None) -> None:
        if trio.current_time() - self._warned_at >= WARN_AGAIN:
            logger.warning("%s: accepting pauses: %s; raise `ulimit -n`", self._name, why)
        self._warned_at = trio.current_time()
        await trio.sleep(ACCEPT_PAUSE)
        while files.descriptors_are_scarce():  # noqa: ASYNC110 - the system has no event for it
            await trio.sleep(ACCEPT_PAUSE)
