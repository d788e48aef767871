"""Stands for a connection's HeldDial: gives a tunnel for each dial, and counts what it is told."""

from __future__ import annotations

from collections.abc import Callable

import trio

from forwarders.errors import DialError
from forwarders.tunnel import TunnelProtocol


class Dialler:
    """`open_tunnel`: returns the tunnel for the next dial."""

    def __init__(self, open_tunnel: Callable[[], TunnelProtocol]) -> None:
        self._open_tunnel = open_tunnel
        self.recently_refused = False
        self.dials = self.refusals = self.successes = self.losses = self.ends = 0

    async def next(self) -> TunnelProtocol:
        await trio.lowlevel.checkpoint()
        self.dials += 1
        return self._open_tunnel()

    def refused(self, error: DialError) -> None:
        self.refusals += 1
        self.recently_refused = True

    def succeeded(self) -> None:
        self.successes += 1

    def lost(self) -> None:
        self.losses += 1

    def over(self) -> None:
        self.ends += 1
