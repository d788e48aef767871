"""Turns a target's pods into endpoints, the best first, and says why none of them can serve. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from forwarders.spec import Endpoint, PodRef
from watcher.cluster.kinds import Pod
from watcher.plan.ports import number_in, undeclared
from watcher.plan.ranking import outdated, ranking

# How many pods a reason names: a line is to stay a line.
NAMED_PODS = 3


class EndpointResult(Struct, frozen=True):
    """The pods for a target. `waiting_for`: why there are none. `broken`: why there can be none until it changes."""

    endpoints: tuple[Endpoint, ...] = ()
    waiting_for: str = ""
    broken: str = ""


def serving(
    pods: Iterable[Pod],
    port: int | str,
    name: str,
    *,
    newest: str = "",
    unready_too: bool = False,
) -> EndpointResult:
    """Those of `pods` that run, the best first, then those that are starting. `name`: whose they are, for reasons.

    `newest`: as for ranking.outdated. `unready_too`: the target says that readiness does not matter.
    """
    ranked = ranking(pods, newest)
    old = outdated(ranked, newest)
    running = [pod for pod in ranked if pod.status.phase == "Running" and not pod.deleting]
    starting = [pod for pod in ranked if pod.starting]
    endpoints = tuple(
        Endpoint(
            ref(pod),
            number,
            ready=pod.ready or (unready_too and not pod.starting),
            running=not pod.starting,
            outdated=pod.metadata.uid in old,
        )
        for pod in (*running, *starting)
        if (number := number_in(pod, port)) is not None
    )
    if running and not endpoints:
        return EndpointResult(broken=undeclared(running[0], port, name))
    if any(endpoint.ready for endpoint in endpoints):
        return EndpointResult(endpoints)
    states = ", ".join(_state(pod) for pod in ranked[:NAMED_PODS])
    return EndpointResult(endpoints, waiting_for=f"no pod of {name} is ready: {states}")


def ref(pod: Pod) -> PodRef:
    return PodRef(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid)


def _state(pod: Pod) -> str:
    if pod.deleting:
        return f"{pod.metadata.name} is Terminating"
    waiting = [s.state.waiting.reason for s in pod.status.container_statuses or () if s.state and s.state.waiting]
    detail = next((f" ({reason})" for reason in waiting if reason), "")
    phase = pod.status.phase or "Pending"
    return f"{pod.metadata.name} is {'Running but not Ready' if phase == 'Running' else phase}{detail}"
