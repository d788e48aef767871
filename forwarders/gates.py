"""Owns the pace of all who try again at what failed: one after the other, and all at once when one got through.

Refuses to know what is tried. An API server that is away is so for every watch and every pod: many need not ask often
for one of them to find out soon.
"""

from __future__ import annotations

import trio

from forwarders.signals import Signal

# Seconds between two tries at the API server, for all its watches and pods together.
TURN = 0.1


class Gate:
    """At most one try each `interval` seconds, whoever makes it; beside those that are the first after a failure."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = 0.0
        self._opened = Signal()

    async def turn(self, pause: float) -> None:
        """Returns `pause` seconds from now, or later where others' tries come first; at once when the gate opens."""
        if await self.pause(pause):
            return
        at = max(trio.current_time(), self._next)
        self._next = at + self._interval
        await self._opens_before(at)

    async def pause(self, seconds: float) -> bool:
        """Returns after so many seconds, out of turn; at once when the gate opens: whether it did.

        For what failed for the first time: a connection that broke says little of the server, and who has lost the one
        he had is not to queue behind all others who did.
        """
        return await self._opens_before(trio.current_time() + seconds)

    def open(self) -> None:
        """One got through: those who wait need not."""
        self._next = 0.0
        self._opened.fire()

    async def _opens_before(self, deadline: float) -> bool:
        with trio.move_on_at(deadline):
            await self._opened.wait()
            return True
        return False
