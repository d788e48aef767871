"""A backend that chooses among pods in memory."""

from __future__ import annotations

from random import Random

import trio

from forwarders.backend import Backend
from forwarders.fleet import Pools
from forwarders.transports.api_server import ClusterRoute
from tests.forwarders.cluster import Pods


class Choosing:
    """A backend over pods in memory, and how often it said that its answer may have changed."""

    def __init__(self, nursery: trio.Nursery, patience: float = 5.0) -> None:
        self.pods = Pods(nursery)
        self.pools = Pools({"": ClusterRoute(self.pods.open_channel)}.__getitem__, Random(0))
        self.changes = 0
        self.backend = Backend(self.pools, patience, self._changed)

    def _changed(self) -> None:
        self.changes += 1


async def settled() -> None:
    """Sessions that are being opened stand."""
    await trio.sleep(0.2)
