"""Owns the smallest notification: wait for the next change. Refuses values: look at the state itself after waking."""

from __future__ import annotations

import trio


class Signal:
    """`fire` wakes all who wait now. Check your condition, then wait: nothing can come between on one thread."""

    def __init__(self) -> None:
        self._lot = trio.lowlevel.ParkingLot()

    def fire(self) -> None:
        self._lot.unpark_all()

    async def wait(self) -> None:
        await self._lot.park()
