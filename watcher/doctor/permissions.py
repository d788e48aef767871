"""Owns the check of what we are allowed to do: every verb that some forward may need, asked of the API server.

Refuses to try anything: the API server's authorizer answers (SelfSubjectAccessReview).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import trio
from msgspec.structs import replace

from forwarders.transports.opener import Transport
from watcher.cluster.client import Action, ApiClient, is_allowed
from watcher.cluster.kinds import ENDPOINT_SLICE, KINDS, POD, Kind
from watcher.doctor.cluster import Cluster
from watcher.doctor.findings import Finding, error, note, ok, warning
from watcher.errors import ClusterError

READ = ("list", "watch")
# SPDY is a POST, so create; a WebSocket is a GET, so get, and from Kubernetes 1.35 on create as well.
FORWARD = tuple(Action(verb, "pods", subresource="portforward") for verb in ("create", "get"))
# Questions asked at once: some round trips for all of them, and few connections.
AT_ONCE = 8
REMEDY = "have it granted: examples/rbac holds the least role"

Answers = Mapping[Action, bool]


async def permissions_check(cluster: Cluster) -> Iterable[Finding]:
    """What is missing in the namespace, each with what it costs; then what is missing in the others."""
    await cluster.reached.given()
    server, namespace = (await cluster.config.given()).server, await cluster.namespace()
    actions = [*_reading(POD), *FORWARD, *(action for kind in _others() for action in _reading(kind))]
    async with ApiClient(server) as client:
        here = await _asked(client, [replace(action, namespace=namespace) for action in actions])
        everywhere = await _asked(client, actions)
    return [*_here(here, namespace), _everywhere(everywhere, namespace)]


def _others() -> tuple[Kind, ...]:
    return (*(kind for kind in KINDS if kind is not POD), ENDPOINT_SLICE)


def _reading(kind: Kind) -> tuple[Action, ...]:
    group = kind.path.removeprefix("/apis/").rpartition("/")[0] if kind.path.startswith("/apis/") else ""
    return tuple(Action(verb, kind.plural, group) for verb in READ)


async def _asked(client: ApiClient, actions: Iterable[Action]) -> Answers:
    """Raises ClusterError."""
    answers: dict[Action, bool] = dict.fromkeys(actions, False)
    problems: list[ClusterError] = []
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def ask(action: Action) -> None:
        async with limiter:
            try:
                answers[action] = await is_allowed(client, action)
            except ClusterError as problem:
                problems.append(problem)

    async with trio.open_nursery() as nursery:
        for action in answers:
            nursery.start_soon(ask, action)
    if problems:
        raise problems[0]
    return answers


def _here(answers: Answers, namespace: str) -> list[Finding]:
    missing = _missing(answers)
    findings = [_lost(thing, verbs, namespace) for thing, verbs in missing.items()]
    if not findings:
        findings = [ok(f"all that a forward in namespace {namespace} may need is allowed")]
    return findings


def _lost(thing: str, verbs: tuple[str, ...], namespace: str) -> Finding:
    what = f"{' and '.join(verbs)} {thing} in namespace {namespace} is not allowed"
    if thing == "pods":
        return error(f"{what}: no forward finds its pods", REMEDY)
    if thing == "replicasets":
        lost = "no ReplicaSet is forwarded to there, and a Deployment's pods are found by their names"
        return warning(f"{what}: {lost}", REMEDY)
    if thing != "pods/portforward":
        return warning(f"{what}: nothing is forwarded by way of {thing} there", REMEDY)
    if len(verbs) == len(FORWARD):
        return error(f"{what}: nothing can be forwarded there", REMEDY)
    left = Transport.WEBSOCKET if verbs == ("create",) else Transport.SPDY
    return warning(f"{what}: {left.value} alone is left for sessions", REMEDY)


def _everywhere(answers: Answers, namespace: str) -> Finding:
    missing = _missing(answers)
    if not missing:
        return ok("the same in all namespaces")
    by_verbs: dict[tuple[str, ...], list[str]] = {}
    for thing, verbs in missing.items():
        by_verbs.setdefault(verbs, []).append(thing)
    what = "; ".join(f"{' and '.join(verbs)} {', '.join(things)}" for verbs, things in by_verbs.items())
    found = f"in all namespaces is not allowed: {what}: services and pods are looked for in namespace {namespace}"
    return note(f"{found} and in those that Skaffold names", "where a run deploys to others: -n, or a ClusterRole")


def _missing(answers: Answers) -> dict[str, tuple[str, ...]]:
    """The verbs that are missing for each thing."""
    missing: dict[str, tuple[str, ...]] = {}
    for action, granted in answers.items():
        if not granted:
            missing[action.thing] = (*missing.get(action.thing, ()), action.verb)
    return missing
