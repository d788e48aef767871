"""Holds a forward's connections while no pod can serve them, and serves them in the order in which they came.

Only the first one in the line asks for a tunnel. Once it has one, the next one asks. A connection that was refused by
its pod's port goes back to its old place.
"""

from __future__ import annotations

import itertools
import math
from bisect import insort
from collections.abc import Callable

import trio

from forwarders.backend import Backend, Dialled
from forwarders.errors import ForwarderError
from forwarders.pool import OWN_PATIENCE
from forwarders.spec import Counters, ForwardSpec
from forwarders.system.tcp import DisconnectWatcher
from forwarders.tasks import Notifier
from forwarders.transports.sockets import FIRST_LOOK, LAST_LOOK, RawSocket, has_left, left_before_sending
from forwarders.tunnel import Carrier, DialError


class HoldExpiredError(ForwarderError):
    """Nothing could serve a connection for as long as it may be held."""


class ClientLeftError(ForwarderError):
    """The client closed its connection before anything of it was sent."""


class WaitingLine:
    """The connections of one forward that wait, in the order in which they came. `why`: the reason, for an error.

    `began` fires when a connection waits and none did before, `emptied` when none waits any more.
    """

    def __init__(
        self,
        spec: ForwardSpec,
        backend: Backend,
        watcher: DisconnectWatcher,
        counters: Counters,
        why: Callable[[], str],
    ) -> None:
        self.spec = spec
        self.backend = backend
        self.began = Notifier()
        self.emptied = Notifier()
        self._watcher = watcher
        self._counters = counters
        self._why = why
        self._numbers = itertools.count()
        self._line: list[HeldDial] = []
        self._changes = Notifier()

    def number(self) -> int:
        """The place of a connection that comes now."""
        return next(self._numbers)

    def changed(self) -> None:
        """The backend has changed: the first one asks again."""
        self._changes.fire()
        if self._line:
            self._line[0].woken.fire()

    async def wait_for_own_session(self) -> None:
        """Of connections that come together each gets a session of its own, where that takes a moment only.

        This is no place in the line: a client that leaves meanwhile is served.
        """
        if self.backend.own_session_comes():
            with trio.move_on_after(OWN_PATIENCE):
                await self._changes.wait()
                while self.backend.own_session_comes():
                    await self._changes.wait()

    def at_once(self, dial: HeldDial) -> Dialled | None:
        """A tunnel without waiting, where nobody else waits. Raises ClientLeftError."""
        if left_before_sending(dial.local.socket):
            raise ClientLeftError("the client left before it was served")
        if self._line:
            return None
        dialled = self.backend.dial()
        return dialled if isinstance(dialled, Dialled) else None

    async def wait(self, dial: HeldDial) -> Dialled:
        """A tunnel once it is this connection's turn. Raises HoldExpiredError, ClientLeftError."""
        self._enter(dial)
        try:
            with trio.fail_at(dial.deadline):
                return await self._turn(dial)
        except trio.TooSlowError:
            why = self._why()
            raise HoldExpiredError(f"a connection was given up after {self.spec.hold:.0f} s: {why}") from None

    def _enter(self, dial: HeldDial) -> None:
        if dial.waits:
            return
        if self._counters.held >= self.spec.held:
            raise HoldExpiredError(f"{self.spec.held} connections wait already, which is the limit: one was refused")
        dial.waits = True
        self._counters.held += 1
        if self._counters.held == 1:
            self.began.fire()

    def leave(self, dial: HeldDial) -> None:
        """The connection is served, or over: it waits no more."""
        if dial.waits:
            dial.waits = False
            self._counters.held -= 1
            if not self._counters.held:
                self.emptied.fire()

    async def _turn(self, dial: HeldDial) -> Dialled:
        insort(self._line, dial, key=_number)
        try:
            with self._watcher.watch(dial.local.socket, dial.woken.fire) as disconnect:
                look = FIRST_LOOK
                while True:
                    if has_left(dial.local.socket):
                        raise ClientLeftError("the client left while it waited")
                    dialled: Dialled | float = math.inf
                    if self._line[0] is dial:
                        dialled = self.backend.dial(len(self._line))
                    else:
                        self.changed()  # the first one asks for one more
                    if isinstance(dialled, Dialled):
                        return dialled
                    # A close shows a moment after its FIN, or never where unread bytes keep the FIN from coming.
                    with trio.move_on_at(min(dialled, trio.current_time() + (look if disconnect.seen else LAST_LOOK))):
                        await dial.woken.wait()
                    if disconnect.seen:
                        look = min(2 * look, LAST_LOOK)
        finally:
            self._line.remove(dial)
            self.changed()


class HeldDial:
    """One connection's dials, all within the hold time that began when it was accepted."""

    def __init__(self, line: WaitingLine, local: RawSocket) -> None:
        self.local = local
        self.number = line.number()
        self.deadline = trio.current_time() + line.spec.hold
        self.woken = Notifier()
        self.waits = False
        self.suspected = False
        self._line = line
        self._dialled: Dialled | None = None

    async def next(self) -> Carrier:
        """Raises HoldExpiredError, ClientLeftError."""
        await self._line.wait_for_own_session()
        dialled = self._line.at_once(self) or await self._line.wait(self)
        self._dialled = dialled
        self.suspected = dialled.suspected
        if not dialled.suspected:
            self._line.leave(self)
        return dialled.tunnel

    def refused(self, error: DialError) -> None:
        if self._dialled is not None:
            self._line.backend.refused(self._dialled.endpoint, error)
            self._dialled = None

    def succeeded(self) -> None:
        if self._dialled is not None:
            self._line.leave(self)
            self._line.backend.succeeded(self._dialled.endpoint)
            self.suspected = False

    def lost(self) -> None:
        """The last tunnel ended without telling whether anything listens."""
        if self._dialled is not None and self.suspected:
            self._line.backend.abandoned(self._dialled.endpoint)
        self._dialled = None
        self.suspected = False

    def over(self) -> None:
        """The connection is over."""
        self.lost()
        self._line.leave(self)


def _number(dial: HeldDial) -> int:
    return dial.number
