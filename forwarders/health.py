"""Owns the question whether a session still lives: it is asked by PINGs, doubted without an answer, then given up.

Refuses to end anything: `watch` returns when the session is to be given up. The rules:
- Nothing was heard after a PING that a free worker of the peer's should have answered: the session is dead.
- Something is heard, but a free worker gives no answer: the peer is wedged. Its connections keep what they have, no new
  one comes; a wedged session that carries none is given up.
- A worker that holds bytes which an application does not read owes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from forwarders.tasks import Notifier
from forwarders.wire.portforward import PortForward

# How often a session is asked: often while it carries connections, so that death is known within 5 s, rarely while it
# is a spare (4 h is containerd's idle limit, minutes are a load balancer's).
BUSY_INTERVAL, IDLE_INTERVAL, ANSWER_TIMEOUT = 2.0, 20.0, 3.0
# After this long without an answer new connections go elsewhere; a slow path is no reason to give up the old ones.
DOUBT = 1.0
# After a sleep of the whole process connections have often died: a spare that is missed for nothing costs 15 ms.
CHECK_TIMEOUT = 2.0
# When the answer's time is over this much too late, this process did not run meanwhile: nothing can be concluded.
OVERSLEPT = 1.0


class Health:
    """`busy`: whether the session carries connections; `flush` returns once what is queued has been written.

    `on_change` is called when `doubtful` changes.
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
        self._heard = self._asked_at = self._settled_at = trio.current_time()
        self._round = 0
        self._checking = self._asking = False
        self._news = Notifier()
        self._wait = trio.CancelScope()
        self.paused = False
        self.doubtful = False

    def heard(self) -> None:
        """Something came from the peer, and has been taken account of."""
        self._heard = trio.current_time()
        if self._asking:
            self._news.fire()

    def grew_busy(self) -> None:
        """The session's first connection: from now on it is asked more often."""
        self._wait.deadline = min(self._wait.deadline, self._settled_at + BUSY_INTERVAL)

    def pause(self) -> None:
        """Nothing is read from now on, so silence proves nothing."""
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        self.heard()

    def check(self) -> None:
        """Ask now, unless that is under way; no new connection until there is an answer, for CHECK_TIMEOUT at most."""
        self._checking = not self._asking
        self._doubt(doubtful=True)
        self._news.fire()

    async def watch(self) -> None:
        """Returns when the session is to be given up."""
        while True:
            await self._until_due()
            if self.paused or not self._wire.can_probe():
                # Nothing can be heard, or nothing may be asked: the kernel's own time-outs stand in.
                self._checking = False
                await trio.sleep(BUSY_INTERVAL)
            elif not await self._lives():
                return

    async def _until_due(self) -> None:
        while not self._checking:
            due = self._settled_at + (BUSY_INTERVAL if self._busy() else IDLE_INTERVAL)
            if trio.current_time() >= due:
                return
            with trio.CancelScope(deadline=due) as self._wait:
                await self._news.wait()

    async def _lives(self) -> bool:
        """One round of PINGs; whether the session is to be kept."""
        timeout = CHECK_TIMEOUT if self._checking else ANSWER_TIMEOUT
        self._checking, self._asking = False, True
        self._asked_at = trio.current_time()
        self._round = self._wire.probe()
        # Behind a large upload on a slow path the question itself takes its time.
        await self._flush()
        asked = trio.current_time()
        if not await self._answered(asked + DOUBT):
            self._doubt(doubtful=True)
            await self._answered(asked + timeout)
        self._checking = trio.current_time() > asked + timeout + OVERSLEPT
        # What has come in the same moment is read by another task: it has its turn first.
        await trio.lowlevel.checkpoint()
        self._asking = False
        self._settled_at = trio.current_time()
        if self._checking:
            return True
        owing = not self.paused and self._wire.owes(self._round)
        self._doubt(doubtful=owing)
        return not owing or (self._heard >= self._asked_at and self._busy())

    async def _answered(self, deadline: float) -> bool:
        """Waits for all answers that are owed."""
        with trio.move_on_at(deadline):
            while self._wire.owes(self._round):
                await self._news.wait()
            return True
        return False

    def _doubt(self, *, doubtful: bool) -> None:
        if self.doubtful != doubtful:
            self.doubtful = doubtful
            self._on_change()
