"""Tells of watched connections whose client has sent a FIN or a reset, even behind bytes that nobody has read.

Only Linux has an event for this that works with unread bytes (EPOLLRDHUP); elsewhere nothing is told.
Whether a client that sent FIN still reads is a question for `half_close`.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator

import trio

# Events taken from the kernel at once; the rest is taken in the next turn.
AT_ONCE = 64


class Disconnect:
    """Whether the client has sent a FIN or a reset."""

    seen = False


if sys.platform == "linux":
    import select

    class DisconnectWatcher:
        """One epoll instance for all connections that wait; `run` must run for anything to be told."""

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self._watched: dict[int, tuple[Disconnect, Callable[[], None]]] = {}

        @contextlib.contextmanager
        def watch(self, connection: socket.socket, on_disconnect: Callable[[], None]) -> Iterator[Disconnect]:
            """`on_disconnect` is called once, when the client's FIN or reset is there."""
            descriptor = connection.fileno()
            disconnect = Disconnect()
            self._watched[descriptor] = disconnect, on_disconnect
            with contextlib.suppress(OSError, ValueError):  # no room for another watch: nothing is told of this one
                self._epoll.register(descriptor, select.EPOLLRDHUP | select.EPOLLONESHOT)
            try:
                yield disconnect
            finally:
                del self._watched[descriptor]
                with contextlib.suppress(OSError, ValueError):
                    self._epoll.unregister(descriptor)

        async def run(self) -> None:
            """Until cancelled."""
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                for descriptor, _ in self._epoll.poll(0, AT_ONCE):
                    disconnect, on_disconnect = self._watched[descriptor]
                    disconnect.seen = True
                    on_disconnect()

        def close(self) -> None:
            """Behind the end of `run`."""
            self._epoll.close()

else:

    class DisconnectWatcher:
        """Tells nothing."""

        @contextlib.contextmanager
        def watch(self, _connection: socket.socket, _on_disconnect: Callable[[], None]) -> Iterator[Disconnect]:
            """What the other one does, where there is an event for it."""
            yield Disconnect()

        async def run(self) -> None:
            """Until cancelled."""
            await trio.sleep_forever()

        def close(self) -> None:
            """Nothing is open."""
