"""Chooses the pod for a forward's next connection among the plan's endpoints, and paces redials.

Ready pods come first, then those of the newest revision, then the one that serves already, then the plan's order. With
none Ready for `patience` seconds, a Running one will do. A pod that refused a connection is tried again at a bounded
pace, by one waiting connection after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from forwarders.direct import Container
from forwarders.gates import Gate
from forwarders.pool import Pool
from forwarders.pools import Pools
from forwarders.signals import Signal
from forwarders.spec import Endpoint, PodRef
from forwarders.tunnel import Carrier

# Pods whose sessions one forward keeps up while none of them serves yet.
MAX_WANTED = 3
# Redials of one endpoint that refuses: this many seconds apart, all waiting connections together.
REDIAL_INTERVAL = 0.025


class Backend:
    """The pods behind one forward. `on_change` is called when the answer of `serving` or `problem` may have changed."""

    def __init__(self, pools: Pools, patience: float, on_change: Callable[[], None]) -> None:
        self._pools = pools
        self._patience = patience
        self._on_change = on_change
        self._endpoints: tuple[Endpoint, ...] = ()
        self._wanted: dict[Endpoint, Pool | Container] = {}
        self._gates: dict[Endpoint, Gate] = {}
        self._preferred: PodRef | None = None
        self._unready_since = trio.current_time()
        self.changed = Signal()

    # From the plan

    def set(self, endpoints: tuple[Endpoint, ...]) -> None:
        had_ready = any(endpoint.ready for endpoint in self._endpoints)
        self._endpoints = self._in_order(endpoints)
        if had_ready:
            self._unready_since = trio.current_time()
        self._gates = {endpoint: gate for endpoint, gate in self._gates.items() if endpoint in endpoints}
        self.refresh()

    def refresh(self) -> None:
        """Choose anew what is wanted; tell those who wait."""
        wanted = self._choose_wanted()
        for endpoint in self._wanted.keys() - wanted.keys():
            if endpoint.pod not in {kept.pod for kept in wanted}:
                self._pools.leave(endpoint.pod, self.refresh)
        self._wanted = wanted
        self._prefer_what_serves()
        self.changed.fire()
        self._on_change()

    def _prefer_what_serves(self) -> None:
        """Equals take no turns: a client's next connection goes where its last one went.

        A pod is preferred for as long as none is better: not for being deleted, unready, or of an older revision. A
        session to it that breaks, or a connection that it refuses, does not change that.
        """
        eligible = self.eligible()
        equals = [endpoint.pod for endpoint in eligible if endpoint.outdated == eligible[0].outdated]
        if self._preferred not in equals:
            serving = None if self.serving is None else self.serving.pod
            self._preferred = serving if serving in equals else next(iter(equals), None)
            self._endpoints = self._in_order(self._endpoints)

    def _in_order(self, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """The plan's order, but of equals the preferred pod comes first."""
        return tuple(sorted(endpoints, key=lambda one: (not one.ready, one.outdated, one.pod != self._preferred)))

    def close(self) -> None:
        for endpoint in self._wanted:
            self._pools.leave(endpoint.pod, self.refresh)
        self._wanted = {}

    def _choose_wanted(self) -> dict[Endpoint, Pool | Container]:
        """Sessions to keep: up to the first pod that has one; a pod that has one serves while the next one's opens.

        And to the next pod, which is not Ready yet: its session is to be up before the old one is gone.
        """
        wanted: dict[Endpoint, Pool | Container] = {}
        opening = False
        eligible = self.eligible()
        for endpoint in eligible:
            standing = self._pools.get(endpoint.pod)
            if opening and (standing is None or not standing.up):
                continue
            pool = wanted[endpoint] = self._pools.want(endpoint.pod, self.refresh)
            if pool.up or len(wanted) == MAX_WANTED:
                break
            opening = opening or not pool.problem
        later = (endpoint for endpoint in self._endpoints if endpoint not in eligible)
        coming = min(later, key=lambda endpoint: endpoint.pod == self._preferred, default=None)
        if coming is not None:
            wanted[coming] = self._pools.want(coming.pod, self.refresh)
        return wanted

    def eligible(self) -> Sequence[Endpoint]:
        ready = [endpoint for endpoint in self._endpoints if endpoint.ready]
        if ready or trio.current_time() < self.patience_ends:
            return ready
        return [endpoint for endpoint in self._endpoints if endpoint.running]

    @property
    def patience_ends(self) -> float:
        """When Running pods will do, if none is Ready until then (seconds of trio's clock)."""
        return self._unready_since + self._patience

    # For status

    @property
    def serving(self) -> Endpoint | None:
        """Where a connection would go now."""
        eligible = self.eligible()
        up = [endpoint for endpoint, pool in self._wanted.items() if pool.up and endpoint in eligible]
        return min(up, key=lambda endpoint: endpoint in self._gates, default=None)

    @property
    def problem(self) -> str:
        """Why no eligible pod has a session."""
        pools = [self._wanted[endpoint] for endpoint in self.eligible() if endpoint in self._wanted]
        return next((pool.problem for pool in pools if pool.problem), "")

    # For connections

    def take(self, endpoint: Endpoint) -> Carrier | None:
        """A tunnel to this pod, or None where every session is at its bound: wait for a change."""
        pool = self._wanted.get(endpoint)
        session = None if pool is None else pool.take()
        return None if session is None else session.open(endpoint.port)

    def refuses(self, endpoint: Endpoint) -> bool:
        """Whether it refused a connection, and has taken none since."""
        return endpoint in self._gates

    async def turn(self, endpoint: Endpoint) -> None:
        """Waits for this connection's turn at an endpoint that refuses."""
        gate = self._gates.get(endpoint)
        if gate is not None:
            await gate.turn(REDIAL_INTERVAL)

    def refused(self, endpoint: Endpoint) -> None:
        if endpoint in self._endpoints:
            self._gates.setdefault(endpoint, Gate(REDIAL_INTERVAL))

    def succeeded(self, endpoint: Endpoint) -> None:
        gate = self._gates.pop(endpoint, None)
        if gate is not None:
            gate.open()
