"""Owns noticing that this process did not run for a while: a laptop's sleep, a SIGSTOP, a virtual machine's pause.

Refuses to know what has to be looked after then. Connections may have died meanwhile without a word, and whatever
waited for a time-out would wait on: so the one who is told checks everything at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Never

import trio

from forwarders.system.files import boot_clock

# How often it is looked: a suspended machine is noticed this soon after it runs again.
TICK = 1.0
# A tick that took this many seconds longer was no scheduling delay.
ASLEEP = 3.0


async def watch_sleep(on_wake: Callable[[], None], wall: Callable[[], float] = boot_clock) -> Never:
    """Calls `on_wake` after each sleep; until cancelled. trio's own clock stands still while a machine is suspended."""
    while True:
        wall_before, before = wall(), trio.current_time()
        await trio.sleep(TICK)
        if max(wall() - wall_before, trio.current_time() - before) > TICK + ASLEEP:
            on_wake()
