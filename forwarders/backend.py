"""Chooses the pod for a forward's next connection among the plan's endpoints.

Ready pods come first, then those of the newest revision, then the one that serves already, then the plan's order. With
none Ready for `patience` seconds, a Running one will do. A pod whose port refuses keeps its place, because it is what
was deployed last; one whose sandbox is gone gives way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import trio

from forwarders.direct import Container
from forwarders.pool import Pool
from forwarders.pools import Pools
from forwarders.redials import Redials
from forwarders.spec import Endpoint, PodRef
from forwarders.tunnel import Carrier, DialError

# Pods whose sessions one forward keeps up while none of them serves yet.
MAX_WANTED = 3


class Dialled(NamedTuple):
    """A tunnel to the pod of `endpoint`. `suspected`: its port refused the last connection."""

    endpoint: Endpoint
    tunnel: Carrier
    suspected: bool


class Backend:
    """The pods behind one forward.

    `on_change` is called when the answer of `serving`, `problem`, `refusal` or `dial` may have changed.
    """

    def __init__(self, pools: Pools, patience: float, on_change: Callable[[], None]) -> None:
        self._pools = pools
        self._patience = patience
        self._on_change = on_change
        self._endpoints: tuple[Endpoint, ...] = ()
        self._wanted: dict[Endpoint, Pool | Container] = {}
        self._redials: dict[Endpoint, Redials] = {}
        self._preferred: PodRef | None = None
        self._unready_since = trio.current_time()

    # From the plan

    def set(self, endpoints: tuple[Endpoint, ...]) -> None:
        had_ready = any(endpoint.ready for endpoint in self._endpoints)
        self._endpoints = self._in_order(endpoints)
        if had_ready:
            self._unready_since = trio.current_time()
        self._redials = {endpoint: redials for endpoint, redials in self._redials.items() if endpoint in endpoints}
        self.refresh()

    def refresh(self) -> None:
        """Choose again which pods are wanted, and report the change."""
        self._prefer_what_serves()
        wanted = self._choose_wanted()
        for endpoint in self._wanted.keys() - wanted.keys():
            if endpoint.pod not in {kept.pod for kept in wanted}:
                self._pools.leave(endpoint.pod, self.refresh)
        self._wanted = wanted
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
            if (pool.up and not self._is_gone(endpoint)) or len(wanted) == MAX_WANTED:
                break
            opening = opening or not (pool.up or pool.problem)
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
        return min(up, key=self._is_gone, default=None)

    @property
    def problem(self) -> str:
        """Why no eligible pod has a session; "" where one is being opened and nothing failed yet."""
        return next((pool.problem for pool in self._eligible_pools() if pool.problem), "")

    @property
    def forbidden(self) -> bool:
        """Whether a missing permission is why no eligible pod has a session."""
        pools = self._eligible_pools()
        return bool(pools) and all(pool.forbidden for pool in pools)

    def _eligible_pools(self) -> list[Pool | Container]:
        return [self._wanted[endpoint] for endpoint in self.eligible() if endpoint in self._wanted]

    @property
    def refusal(self) -> str:
        """Why the runtime could not connect to the serving pod's port last, "" if it could."""
        redials = None if self.serving is None else self._redials.get(self.serving)
        return "" if redials is None else redials.reason

    def _is_gone(self, endpoint: Endpoint) -> bool:
        redials = self._redials.get(endpoint)
        return redials is not None and redials.sandbox_gone

    # For connections

    def own_session_comes(self) -> bool:
        """Whether one more connection should wait for a session that it need not share."""
        endpoint = self.serving
        return endpoint is not None and self._wanted[endpoint].own_session_comes()

    def dial(self, waiting: int = 1) -> Dialled | float:
        """A tunnel to the serving pod, or when to ask again (infinite: after a change). `waiting`: for how many."""
        endpoint = self.serving
        if endpoint is None:
            return math.inf
        redials = self._redials.get(endpoint)
        if redials is not None and redials.due > trio.current_time():
            return redials.due
        session = self._wanted[endpoint].take(waiting)
        if session is None:
            return math.inf
        if redials is not None:
            redials.begin()
        return Dialled(endpoint, session.open(endpoint.port), suspected=redials is not None)

    def refused(self, endpoint: Endpoint, error: DialError) -> None:
        """The runtime could not connect."""
        if endpoint not in self._endpoints:
            return
        redials = self._redials.get(endpoint)
        if redials is None:
            redials = self._redials[endpoint] = Redials(endpoint, error)
        else:
            redials.refused(error)
        if redials.sandbox_gone:
            self.refresh()
        else:
            self._on_change()

    def succeeded(self, endpoint: Endpoint) -> None:
        """The application listens: waiting connections need not wait for its port any more."""
        if self._redials.pop(endpoint, None) is not None:
            self._on_change()

    def abandoned(self, endpoint: Endpoint) -> None:
        """A dial to a suspected pod ended without an answer."""
        if (redials := self._redials.get(endpoint)) is not None:
            redials.abandon()
            self._on_change()
