"""Decides whether a session is alive: PINGs ask the peer, a late answer makes it doubtful, silence ends it.

- If nothing arrives after a PING that a free worker of the peer should have answered, the session is dead.
- If data arrives but a free worker does not answer, the peer is wedged: the session keeps its connections and takes no
  new one. A wedged session without connections is given up.
- A worker that holds bytes which an application does not read owes no answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Never

import trio

from forwarders.errors import SilentError
from forwarders.tasks import Notifier
from forwarders.wire.portforward import PortForward

# Seconds between PINGs: often while the session carries connections, so that its death is known within 5 s; seldom
# while it is a spare (containerd's idle limit is 4 h, load balancers' are minutes).
BUSY_INTERVAL, IDLE_INTERVAL, ANSWER_TIMEOUT = 2.0, 20.0, 3.0
# Seconds without an answer until new connections go elsewhere; a slow path is no reason to give up the old ones.
DOUBT = 1.0
# After a sleep of the process connections have often died: replacing a live spare by mistake costs 15 ms.
CHECK_TIMEOUT = 2.0
# An answer's deadline that is met this much too late means that this process did not run: it proves nothing.
OVERSLEPT = 1.0


class SessionHealth:
    """Sends PINGs on one session and judges the answers. `on_change` is called when `doubtful` changes.

    `busy`: whether the session carries connections. `flush`: returns once queued bytes have been written.
    """

    def __init__(
        self,
        wire: PortForward,
        busy: Callable[[], bool],
        flush: Callable[[], Awaitable[None]],
        on_change: Callable[[], None],
    ) -> None:
        self._wire = wire
        self._busy = busy
        self._flush = flush
        self._on_change = on_change
        self._heard = self._asked_at = self._answered_at = trio.current_time()
        self._round = 0
        self._check_requested = self._asking = False
        self._changed = Notifier()
        self._wait = trio.CancelScope()
        self.paused = False
        self.doubtful = False

    def heard(self) -> None:
        """Note that bytes from the peer arrived and have been processed."""
        self._heard = trio.current_time()
        if self._asking:
            self._changed.fire()

    def grew_busy(self) -> None:
        """Send PINGs more often from now on: the session has its first connection."""
        self._wait.deadline = min(self._wait.deadline, self._answered_at + BUSY_INTERVAL)

    def resume(self) -> None:
        """Expect answers again: the session reads on after it was `paused`."""
        self.paused = False
        self.heard()

    def check(self) -> None:
        """Send PINGs now. The session is doubtful until the answer; CHECK_TIMEOUT bounds that."""
        self._check_requested = not self._asking
        self._set_doubtful(doubtful=True)
        self._changed.fire()

    async def watch(self) -> Never:
        """Send PINGs when they are due. Raises SilentError when the session is to be given up."""
        while True:
            await self._until_due()
            if self.paused or not self._wire.credit.can_probe():
                # Nothing can be heard, or nothing may be asked: the kernel's own time-outs apply.
                self._check_requested = False
                await trio.sleep(BUSY_INTERVAL)
            elif not await self._is_alive():
                raise SilentError(f"the session to the pod gave no sign of life for {ANSWER_TIMEOUT:.0f} s")

    async def _until_due(self) -> None:
        while not self._check_requested:
            due = self._answered_at + (BUSY_INTERVAL if self._busy() else IDLE_INTERVAL)
            if trio.current_time() >= due:
                return
            with trio.CancelScope(deadline=due) as self._wait:
                await self._changed.wait()

    async def _is_alive(self) -> bool:
        """Sends one round of PINGs and waits for the answers; returns whether to keep the session."""
        timeout = CHECK_TIMEOUT if self._check_requested else ANSWER_TIMEOUT
        self._check_requested, self._asking = False, True
        self._asked_at = trio.current_time()
        self._round = self._wire.probe()
        # Behind a large upload on a slow path the PINGs themselves take their time.
        await self._flush()
        asked = trio.current_time()
        if not await self._answered(asked + DOUBT):
            self._set_doubtful(doubtful=True)
            await self._answered(asked + timeout)
            # The reader may have an answer that arrived in this moment: it runs first.
            await trio.lowlevel.checkpoint()
        self._check_requested = trio.current_time() > asked + timeout + OVERSLEPT
        self._asking = False
        self._answered_at = trio.current_time()
        if self._check_requested:
            return True
        owing = not self.paused and self._wire.credit.has_unanswered_ping(self._round)
        self._set_doubtful(doubtful=owing)
        return not owing or (self._heard >= self._asked_at and self._busy())

    async def _answered(self, deadline: float) -> bool:
        """Waits for every answer that is owed; returns whether all arrived before the deadline."""
        with trio.move_on_at(deadline):
            while self._wire.credit.has_unanswered_ping(self._round):
                await self._changed.wait()
            return True
        return False

    def _set_doubtful(self, *, doubtful: bool) -> None:
        if self.doubtful != doubtful:
            self.doubtful = doubtful
            self._on_change()
