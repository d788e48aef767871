"""Somebody who wants one pod's sessions, and connections through them, on trio's own clock."""

from __future__ import annotations

from random import Random

import trio
import trio.testing

from forwarders.backoff import TURN, RetryLimiter
from forwarders.fleet import Pools
from forwarders.pool import Pool
from forwarders.tasks import Notifier
from forwarders.transports.api_server import ClusterRoute
from forwarders.tunnel import Tunnel
from tests.forwarders.cluster import Pods, pod

POD = pod("web")


class Wanting:
    """Somebody who wants the pod and waits for its changes."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.pods = Pods(nursery)
        self.limiter = RetryLimiter(TURN)
        self.pools = Pools({"": ClusterRoute(self.pods.open_channel, self.limiter, self.silent)}.__getitem__, Random(0))
        self.changes = self.silences = 0
        self.news = Notifier()

    def silent(self) -> None:
        self.silences += 1

    def changed(self) -> None:
        self.changes += 1
        self.news.fire()

    def want(self) -> Pool:
        pool = self.pools.want(POD, self.changed, running=True)
        assert isinstance(pool, Pool)
        return pool


async def settled() -> None:
    """Sessions that are being opened stand."""
    await trio.sleep(0.5)


async def connect(pool: Pool, count: int) -> list[Tunnel]:
    """`count` connections one after the other, each with time for the next spare."""
    tunnels = []
    for _ in range(count):
        session = pool.take()
        assert session is not None
        tunnels.append(session.open(80))
        await settled()
    return tunnels
