"""Chooses the pod for a forward's next connection among the plan's endpoints.

Ready pods come first, then those of the newest revision, then the one that serves already, then the plan's order. With
none Ready for `patience` seconds, a Running one will do. A pod whose port refuses keeps its place, because it is what
was deployed last; one whose sandbox is gone does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import trio

from forwarders.backoff import DialBackoff
from forwarders.errors import DialError
from forwarders.spec import Endpoint, PodRef
from forwarders.transports.own_address import NotReachedError
from forwarders.tunnel import TunnelProtocol, Upstream
from forwarders.wire.runtimes import says_refused

# Pods to which one forward keeps sessions open while none of them serves yet.
MAX_WANTED = 3
# Characters of a runtime's error text: a reason is one line of a table. Runtimes name the cause at the end.
MAX_REASON = 200


class Upstreams(Protocol):
    """Returns the way to each pod: `fleet.Pools` implements it."""

    def get(self, pod: PodRef) -> Upstream | None:
        """Return the way to the pod if any listener is subscribed."""

    def want(self, pod: PodRef, listener: Callable[[], None], *, running: bool) -> Upstream:
        """Subscribe: keep the way open, and call `listener` after each of its changes.

        `running`: whether the pod's containers run. Until then a try may fail, and tries become rare.
        """

    def leave(self, pod: PodRef, listener: Callable[[], None]) -> None:
        """Unsubscribe the listener."""


class Dialled(NamedTuple):
    """A tunnel to the pod of `endpoint`. `recently_refused`: its port refused the last connection."""

    endpoint: Endpoint
    tunnel: TunnelProtocol
    recently_refused: bool


class Backend:
    """Chooses which pods of one forward are kept connected, and which one serves.

    `on_change` is called when the value of `serving`, `problem`, `refusal` or `dial` may have changed.
    """

    def __init__(self, upstreams: Upstreams, patience: float, on_change: Callable[[], None]) -> None:
        self._upstreams = upstreams
        self._patience = patience
        self._on_change = on_change
        self._endpoints: tuple[Endpoint, ...] = ()
        self._eligible: tuple[Endpoint, ...] = ()
        self._wanted: dict[Endpoint, Upstream] = {}
        # Of each endpoint whose port refused a connection since it last took one.
        self._refusals: dict[Endpoint, DialBackoff] = {}
        self._preferred: PodRef | None = None
        self._unready_since = trio.current_time()
        # Where a connection would go now, None if nowhere. All of this is computed once for each change.
        self.serving: Endpoint | None = None

    # From the plan

    def set(self, endpoints: tuple[Endpoint, ...]) -> None:
        had_ready = any(endpoint.ready for endpoint in self._endpoints)
        self._endpoints = self._in_order(endpoints)
        if had_ready:
            self._unready_since = trio.current_time()
        self._refusals = {endpoint: refusals for endpoint, refusals in self._refusals.items() if endpoint in endpoints}
        self.refresh()

    def refresh(self) -> None:
        """Choose again which pods are wanted and which one serves. Call it also when `patience_ends`."""
        self._choose_eligible()
        self._choose_serving()
        self._choose_preferred()
        wanted = self._choose_wanted()
        for endpoint in self._wanted.keys() - wanted.keys():
            if endpoint.pod not in {kept.pod for kept in wanted}:
                self._upstreams.leave(endpoint.pod, self.refresh)
        self._wanted = wanted
        self._choose_serving()
        self._on_change()

    def _choose_eligible(self) -> None:
        ready = tuple(endpoint for endpoint in self._endpoints if endpoint.ready)
        if ready or trio.current_time() < self.patience_ends:
            self._eligible = ready
        else:
            self._eligible = tuple(endpoint for endpoint in self._endpoints if endpoint.running)

    def _choose_serving(self) -> None:
        up = [endpoint for endpoint, upstream in self._wanted.items() if upstream.up and endpoint in self._eligible]
        self.serving = min(up, key=self._is_gone, default=None)

    def _choose_preferred(self) -> None:
        """Equals take no turns: a client's next connection goes to the pod of its last one.

        A pod stays preferred while none is better: until it is deleted, unready, or of an older revision. A session
        to it that breaks, or a connection that it refuses, does not change that.
        """
        equals = [endpoint.pod for endpoint in self._eligible if endpoint.outdated == self._eligible[0].outdated]
        if self._preferred not in equals:
            serving = None if self.serving is None else self.serving.pod
            self._preferred = serving if serving in equals else next(iter(equals), None)
            self._endpoints = self._in_order(self._endpoints)
            self._choose_eligible()

    def _in_order(self, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """The plan's order, but of equals the preferred pod comes first."""
        return tuple(sorted(endpoints, key=lambda one: (not one.ready, one.outdated, one.pod != self._preferred)))

    def close(self) -> None:
        for endpoint in self._wanted:
            self._upstreams.leave(endpoint.pod, self.refresh)
        self._wanted = {}
        self._choose_serving()

    def _choose_wanted(self) -> dict[Endpoint, Upstream]:
        """Pods to keep sessions to: up to the first that is up; a pod that is up serves while the next one's opens.

        Also the next pod, which is not Ready yet: its session is to be open before the old one is gone.
        """
        wanted: dict[Endpoint, Upstream] = {}
        opening = False
        for endpoint in self._eligible:
            present = self._upstreams.get(endpoint.pod)
            if opening and (present is None or not present.up):
                continue
            upstream = wanted[endpoint] = self._upstreams.want(endpoint.pod, self.refresh, running=True)
            if (upstream.up and not self._is_gone(endpoint)) or len(wanted) == MAX_WANTED:
                break
            opening = opening or not (upstream.up or upstream.problem)
        later = (endpoint for endpoint in self._endpoints if endpoint not in self._eligible)
        coming = min(later, key=lambda endpoint: endpoint.pod == self._preferred, default=None)
        if coming is not None:
            wanted[coming] = self._upstreams.want(coming.pod, self.refresh, running=coming.running)
        return wanted

    @property
    def patience_ends(self) -> float:
        """When a Running pod may serve if none is Ready until then (seconds of trio's clock)."""
        return self._unready_since + self._patience

    # For status

    @property
    def awaited(self) -> Endpoint | None:
        """The pod that would serve if its session were open."""
        return next(iter(self._eligible), None)

    @property
    def via(self) -> str:
        """How connections get to the serving pod."""
        return "" if self.serving is None else self._wanted[self.serving].via(self.serving)

    @property
    def problem(self) -> str:
        """Why no eligible pod has a session; "" if one is being opened and nothing failed yet."""
        return next((upstream.problem for upstream in self._eligible_upstreams() if upstream.problem), "")

    @property
    def forbidden(self) -> bool:
        """Whether no eligible pod has a session because a permission is missing."""
        upstreams = self._eligible_upstreams()
        return bool(upstreams) and all(upstream.forbidden for upstream in upstreams)

    def _eligible_upstreams(self) -> list[Upstream]:
        return [self._wanted[endpoint] for endpoint in self._eligible if endpoint in self._wanted]

    @property
    def refusal(self) -> str:
        """Why the runtime could not connect to the serving pod's port last, "" if it could."""
        refusals = None if self.serving is None else self._refusals.get(self.serving)
        return "" if refusals is None else refusals.reason

    def _is_gone(self, endpoint: Endpoint) -> bool:
        refusals = self._refusals.get(endpoint)
        return refusals is not None and refusals.sandbox_gone

    # For connections

    def own_session_comes(self) -> bool:
        """Whether one more connection should wait for a session that it need not share."""
        return self.serving is not None and self._wanted[self.serving].own_session_comes(self.serving)

    def dial(self, waiting: int = 1) -> Dialled | float:
        """Open a tunnel to the serving pod, or return when to ask again (infinite: after a change).

        `waiting`: how many connections want one.
        """
        if self._refusals:
            self._choose_serving()  # a pod that was gone gives way for a while only
        endpoint = self.serving
        if endpoint is None:
            return math.inf
        refusals = self._refusals.get(endpoint)
        if refusals is not None and refusals.due > trio.current_time():
            return refusals.due
        tunnel = self._wanted[endpoint].open(endpoint, waiting)
        if tunnel is None:
            return math.inf
        if refusals is not None:
            refusals.begin()
        return Dialled(endpoint, tunnel, recently_refused=refusals is not None)

    def refused(self, endpoint: Endpoint, error: DialError) -> None:
        """Count a refusal: the runtime could not connect. If only the pod's own address was not reached, it is none."""
        if isinstance(error, NotReachedError):
            self.abandoned(endpoint)
            return
        if endpoint not in self._endpoints:
            return
        refusals = self._refusals.setdefault(endpoint, DialBackoff())
        refusals.refused(dial_reason(endpoint, error), sandbox_gone=error.sandbox_gone)
        self.refresh()

    def succeeded(self, endpoint: Endpoint) -> None:
        """Forget the endpoint's refusals, because its application listens."""
        if self._refusals.pop(endpoint, None) is not None:
            self.refresh()

    def abandoned(self, endpoint: Endpoint) -> None:
        """Let the next dial begin: the last one, to a port that refused before, ended without an answer."""
        if (refusals := self._refusals.get(endpoint)) is not None:
            refusals.abandoned()
            self._on_change()


def dial_reason(endpoint: Endpoint, error: DialError) -> str:
    """Describe a failed dial in one line: the port, the pod, and the runtime's answer."""
    what = "container" if endpoint.pod.address else "pod"
    where = f"{what} {endpoint.pod.name}"
    text = " ".join(str(error).split())
    if len(text) > MAX_REASON:
        text = f"… {text[-MAX_REASON:]}"
    if error.sandbox_gone:
        return f"{where} has ended: {text}"
    if says_refused(str(error)):
        return f"nothing listens on {endpoint.port} in {where}: connection refused"
    return f"no connection to {endpoint.port} in {where}: {text}"
