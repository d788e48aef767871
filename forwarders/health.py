"""Owns the question whether a session still lives: a quiet one is asked by PINGs and given up without an answer.

Refuses to end anything: `watch` returns when the session is to be given up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from forwarders.signals import Signal
from forwarders.wire.portforward import PortForward

# A quiet session is asked whether it lives: often while it carries connections, so that death is known within 5 s,
# rarely while it is a spare (4 h is containerd's idle limit, minutes are a load balancer's).
BUSY_INTERVAL, IDLE_INTERVAL, ANSWER_TIMEOUT = 2.0, 20.0, 3.0
# When the answer's time is over this much too late, this process did not run meanwhile: nothing can be concluded.
OVERSLEPT = 1.0


class Health:
    """`busy` tells whether the session carries connections; `flush` returns once what is queued has been written."""

    def __init__(self, wire: PortForward, busy: Callable[[], bool], flush: Callable[[], Awaitable[None]]) -> None:
        self._wire = wire
        self._busy = busy
        self._flush = flush
        self._heard = trio.current_time()
        self._paused = False
        self._busier = Signal()

    @property
    def paused(self) -> bool:
        return self._paused

    def heard(self) -> None:
        """Something came from the peer."""
        self._heard = trio.current_time()

    def grew_busy(self) -> None:
        """The session's first connection: from now on it is asked more often."""
        self._busier.fire()

    def pause(self) -> None:
        """Nothing is read from now on, so silence proves nothing."""
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self.heard()

    async def watch(self) -> None:
        """Returns when the peer gave no sign of life for ANSWER_TIMEOUT seconds after it was asked."""
        while True:
            await self._wait_quiet()
            if self._paused or not self._wire.can_probe():
                # Nothing can be heard, or nothing may be asked: the kernel's own time-outs stand in.
                await trio.sleep(BUSY_INTERVAL)
            elif not await self._answers():
                return

    async def _answers(self) -> bool:
        asked_at = trio.current_time()
        self._wire.probe()
        # Behind a large upload on a slow path the question itself takes its time.
        await self._flush()
        late = trio.current_time() + ANSWER_TIMEOUT + OVERSLEPT
        await trio.sleep(ANSWER_TIMEOUT)
        overslept = trio.current_time() > late
        # What has come in the same moment is read by another task: it has its turn first.
        await trio.lowlevel.checkpoint()
        return self._paused or overslept or self._heard >= asked_at

    async def _wait_quiet(self) -> None:
        while True:
            interval = BUSY_INTERVAL if self._busy() else IDLE_INTERVAL
            left = self._heard + interval - trio.current_time()
            if left <= 0:
                return
            with trio.move_on_after(left):
                await self._busier.wait()
