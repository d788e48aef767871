"""Ends the process at once when a second signal comes while it still ends in good order because of the first."""

from __future__ import annotations

import logging
import os

import trio

logger = logging.getLogger("portside")

# Seconds. A terminal and a wrapper (npm, make) both pass a Ctrl-C on: two that come together are one.
TOGETHER = 0.2
# A good end takes some tenths of a second; one that takes longer is said.
SAID_AFTER = 1.0


class Insistence:
    """Call `heard` with each signal that asks us to end."""

    def __init__(self) -> None:
        self._since: float | None = None

    def heard(self, number: int) -> None:
        """Returns for the first signal and those that come with it; for a later one it does not return."""
        now = trio.current_time()
        if self._since is None:
            self._since = now
        elif now - self._since >= TOGETHER:
            leave(number)

    async def explain(self) -> None:
        """Run it from the first signal on: an end that takes long is one line."""
        await trio.sleep(SAID_AFTER)
        logger.warning("still ending in good order; Ctrl-C again leaves at once")


def leave(number: int) -> None:
    """As if the signal had not been caught. Ports and connections are the system's to close."""
    logger.warning("left at once, by a second signal")
    logging.shutdown()
    os._exit(128 + number)
