"""Holds a forward's connections while no pod can serve them, and serves them in the order of their arrival.

Only the first connection in the queue asks for a tunnel; once it has one, the next one asks. A connection that its
pod's port refused returns to its old place.
"""

from __future__ import annotations

import itertools
import math
import socket
from bisect import insort
from collections.abc import Callable
from operator import attrgetter

import trio

from forwarders.backend import Backend, Dialled
from forwarders.errors import ClientLeftError, DialError, HoldExpiredError
from forwarders.pool import OWN_PATIENCE
from forwarders.spec import Counts, ForwardSpec
from forwarders.system.tcp import SocketWatcher, reader_is_gone
from forwarders.tasks import Notifier
from forwarders.transports.sockets import RawSocket
from forwarders.tunnel import TunnelProtocol

# Seconds until a caller asks again whether a client has left, at first and later: a close shows soon after its FIN.
FIRST_LOOK, LAST_LOOK = 0.005, 1.0
# Unread bytes behind which a client's FIN may not arrive: it waits for room in our buffer, which is never this small.
MAY_HIDE_FIN = 1024
_peeked = bytearray(MAY_HIDE_FIN)


class WaitingLine:
    """The waiting connections of one forward, in the order of their arrival. `why`: the reason, for an error.

    `began` fires when the first connection starts to wait, `emptied` when the last one stops.
    """

    def __init__(
        self,
        spec: ForwardSpec,
        backend: Backend,
        watcher: SocketWatcher,
        counters: Counts,
        why: Callable[[], str],
    ) -> None:
        self.spec = spec
        self.backend = backend
        self.began = Notifier()
        self.emptied = Notifier()
        self._watcher = watcher
        self._counters = counters
        self._why = why
        self.numbers = itertools.count()
        self._line: list[HeldDial] = []
        self._changes = Notifier()

    def changed(self) -> None:
        """Wake the first connection, because the backend has changed."""
        self._changes.fire()
        if self._line:
            self._line[0].woken.fire()

    def find_leavers(self) -> None:
        """Find the clients whose leaving the kernel does not report. Call it each second: one call for all of them."""
        for dial in self._line:
            unreported = not dial.watched or _may_hide_fin(dial.local.socket)
            if unreported and has_left(dial.local.socket):
                dial.left = True
                dial.woken.fire()

    async def wait_for_own_session(self) -> None:
        """Wait, for OWN_PATIENCE at most, until this connection need not share a session.

        The connection is not in the queue meanwhile: a client that leaves now is served.
        """
        if self.backend.own_session_comes():
            with trio.move_on_after(OWN_PATIENCE):
                await self._changes.wait()
                while self.backend.own_session_comes():
                    await self._changes.wait()

    def dial_at_once(self, dial: HeldDial) -> Dialled | None:
        """Open a tunnel without waiting; None if others wait, or nothing can serve. Raises ClientLeftError."""
        if left_before_sending(dial.local.socket):
            raise ClientLeftError("the client left before it was served")
        if self._line:
            return None
        dialled = self.backend.dial()
        return dialled if isinstance(dialled, Dialled) else None

    async def wait_for_tunnel(self, dial: HeldDial) -> Dialled:
        """Wait for this connection's turn, then open a tunnel. Raises HoldExpiredError, ClientLeftError."""
        self._enter(dial)
        try:
            with trio.fail_at(dial.deadline):
                return await self._wait_turn(dial)
        except trio.TooSlowError:
            why = self._why()
            raise HoldExpiredError(f"a connection was given up after {self.spec.hold:.0f} s: {why}") from None

    def _enter(self, dial: HeldDial) -> None:
        if dial.waits:
            return
        if self._counters.held >= self.spec.max_waiting:
            raise HoldExpiredError(
                f"{self.spec.max_waiting} connections wait already, which is the limit: one was refused"
            )
        dial.waits = True
        self._counters.held += 1
        if self._counters.held == 1:
            self.began.fire()

    def leave(self, dial: HeldDial) -> None:
        """Stop counting the connection as waiting: it is served, or over."""
        if dial.waits:
            dial.waits = False
            self._counters.held -= 1
            if not self._counters.held:
                self.emptied.fire()

    async def _wait_turn(self, dial: HeldDial) -> Dialled:
        insort(self._line, dial, key=attrgetter("number"))
        try:
            dial.watched = self._watcher.watch_disconnect(dial.local.socket, dial.disconnected)
            look, looked_at = FIRST_LOOK, -math.inf
            while True:
                # A client that leaves wakes its connection; other wakeups need no system call each.
                if dial.fin_seen or trio.current_time() >= looked_at + FIRST_LOOK:
                    looked_at = trio.current_time()
                    dial.left = dial.left or has_left(dial.local.socket)
                if dial.left:
                    raise ClientLeftError("the client left while it waited")
                dialled: Dialled | float = math.inf
                if self._line[0] is dial:
                    dialled = self.backend.dial(len(self._line))
                else:
                    self.changed()  # the first one asks again, for one more
                if isinstance(dialled, Dialled):
                    return dialled
                # A close shows a moment after its FIN. A FIN that cannot arrive is for `find_leavers`.
                with trio.move_on_at(min(dialled, trio.current_time() + (look if dial.fin_seen else math.inf))):
                    await dial.woken.wait()
                if dial.fin_seen:
                    look = min(2 * look, LAST_LOOK)
        finally:
            self._watcher.forget(dial.local.socket)
            self._line.remove(dial)
            self.changed()


class HeldDial:
    """Dials for one connection, as often as needed within its hold time, which begins when it is accepted.

    `recently_refused`: the last tunnel's port refused a connection before. `watched`: the kernel reports a FIN.
    `left`: the client has.
    """

    def __init__(self, line: WaitingLine, local: RawSocket) -> None:
        self.local = local
        self.number = next(line.numbers)
        self.deadline = trio.current_time() + line.spec.hold
        self.woken = Notifier()
        self.fin_seen = False
        self.watched = self.left = False
        self.waits = False
        self.recently_refused = False
        self._line = line
        self._dialled: Dialled | None = None

    async def next(self) -> TunnelProtocol:
        """Wait for a tunnel; it is not yet known to work. Raises HoldExpiredError, ClientLeftError."""
        await self._line.wait_for_own_session()
        dialled = self._line.dial_at_once(self) or await self._line.wait_for_tunnel(self)
        self._dialled = dialled
        self.recently_refused = dialled.recently_refused
        if not dialled.recently_refused:
            self._line.leave(self)
        return dialled.tunnel

    def disconnected(self) -> None:
        """Report that the client's FIN or reset has arrived."""
        self.fin_seen = True
        self.woken.fire()

    def refused(self, error: DialError) -> None:
        """Report that the runtime could not connect the last tunnel."""
        if self._dialled is not None:
            self._line.backend.refused(self._dialled.endpoint, error)
            self._dialled = None

    def succeeded(self) -> None:
        """Report that an application listens behind the last tunnel."""
        if self._dialled is not None:
            self._line.leave(self)
            self._line.backend.succeeded(self._dialled.endpoint)
            self.recently_refused = False

    def lost(self) -> None:
        """Report that the last tunnel ended before it was known whether anything listens."""
        if self._dialled is not None and self.recently_refused:
            self._line.backend.abandoned(self._dialled.endpoint)
        self._dialled = None
        self.recently_refused = False

    def over(self) -> None:
        """Report that the connection is over: it dials no more."""
        self.lost()
        self._line.leave(self)


def has_left(connection: socket.socket) -> bool:
    """Whether the client has reset or closed its connection, as far as the system can tell.

    A client that has only ended its sending still waits for an answer: it has not left.
    """
    return _was_reset(connection) or reader_is_gone(connection) is True


def left_before_sending(connection: socket.socket) -> bool:
    """Whether the client has reset its connection, or closed it with nothing left to read.

    Cheap for a client that has not left, because it runs for every new connection.
    """
    try:
        if connection.recv(1, socket.MSG_PEEK):
            return _was_reset(connection)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return reader_is_gone(connection) is True


def _may_hide_fin(connection: socket.socket) -> bool:
    """Whether so many bytes are unread that the client's FIN, and so its close, may wait behind them."""
    try:
        return connection.recv_into(_peeked, 0, socket.MSG_PEEK) == MAY_HIDE_FIN
    except BlockingIOError:
        return False
    except OSError:
        return True


def _was_reset(connection: socket.socket) -> bool:
    """Whether the kernel has seen a reset, even behind unread bytes. True once: reading the error clears it."""
    try:
        return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
    except OSError:
        return True
