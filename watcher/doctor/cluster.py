"""Checks the cluster without changing it: kubeconfig, API server, version, proxy, permissions, a session to a pod.

Findings show names, files and addresses of a kubeconfig, never its secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import trio
from msgspec import Struct
from msgspec.structs import replace

from forwarders.errors import RefusedError, TransportError
from forwarders.spec import PodRef
from forwarders.transports import connecting
from forwarders.transports.api_server import ApiServer
from forwarders.transports.opener import ProbeTimes, Transport, probe
from watcher.cluster.api_client import Action, ApiClient
from watcher.cluster.cluster_config import ClusterConfig, load_cluster_config
from watcher.cluster.kinds import ENDPOINT_SLICE, KINDS, POD, Kind, Pod
from watcher.cluster.store import Watch
from watcher.doctor import Finding, NotCheckedError, Prerequisite, error, note, ok, warning
from watcher.doctor.local import ProjectFiles
from watcher.errors import ApiError, ClusterError, KubeconfigError

# Deadlines in seconds. A login plugin may ask a remote server or its user; a server slower than ANSWER is unusable.
LOGIN, ANSWER = 30.0, 15.0
# The fastest of these is the network's own round trip; the others waited for something on this machine.
SAMPLES = 3
# The first minor version of Kubernetes 1 that serves EndpointSlices and CronJobs as v1.
OLDEST = 21
TESTED = "1.34"

READ = ("list", "watch")
# SPDY is a POST, so create; a WebSocket is a GET, so get, and from Kubernetes 1.35 on create as well.
FORWARD = tuple(Action(verb, "pods", subresource="portforward") for verb in ("create", "get"))
# Access reviews at once: they take a few round trips in all, over few connections.
AT_ONCE = 8
REMEDY = "ask for the missing permissions: examples/rbac has the smallest role"


class Reached(Struct, frozen=True):
    """An API server that answers: its version ("" if this user may not read it) and one round trip in seconds."""

    version: str
    round_trip: float


class ClusterChecks:
    """The checks of one cluster and what they share. `kubeconfig`, `context`, `namespace`: the options, or "".

    A project that deploys with Docker alone needs no cluster, so `files` is read first.
    """

    def __init__(self, kubeconfig: str, context: str, namespace: str, files: ProjectFiles) -> None:
        self._chosen = kubeconfig or None, context or None
        self._files = files
        self._namespace = namespace
        self.config = Prerequisite(self._load, "a usable kubeconfig", LOGIN)
        self.reached = Prerequisite(self._reach, "an API server that answers", ANSWER)

    async def _load(self) -> ClusterConfig:
        if await self._files.docker():
            raise NotCheckedError("not needed: the project here deploys with Docker alone")
        connecting.install_resolver()
        return await load_cluster_config(*self._chosen)

    async def _reach(self) -> Reached:
        config = await self.config.given()
        async with ApiClient(config.server) as client:
            version = await _version(client)
            return Reached(version, min([await _round_trip(client) for _ in range(SAMPLES)]))

    async def namespace(self) -> str:
        """The default namespace of forwards. Raises NotCheckedError."""
        return self._namespace or (await self.config.given()).namespace or "default"

    async def kubeconfig_check(self) -> Iterable[Finding]:
        try:
            config = await self.config()
        except KubeconfigError as problem:
            return [error(str(problem), "correct the file, or choose another: --kubeconfig, --kube-context")]
        context = f"context {config.context}" if config.context else "no context"
        async with ApiClient(config.server) as client:
            found = [ok(f"{config.source}, {context}, namespace {await self.namespace()}, server {client.server.url}")]
        if config.problem:
            found.append(error(config.problem, "log in again, or get a new certificate from the cluster's operators"))
        return found

    async def server_check(self) -> Iterable[Finding]:
        await self.config.given()
        try:
            reached = await self.reached()
        except ClusterError as problem:
            remedy = "log in again" if isinstance(problem, ApiError) else "start it, or repair the network (VPN, proxy)"
            return [error(str(problem), remedy)]
        return [ok(f"answers, round trip {_milliseconds(reached.round_trip)}"), _judged(reached.version)]

    async def transport_check(self) -> Iterable[Finding]:
        """Opens a session to a running pod over each transport and sends a PING; connects to no port of the pod."""
        await self.reached.given()
        server, namespace = (await self.config.given()).server, await self.namespace()
        async with ApiClient(server) as client:
            pod = await _running_pod(client, namespace)
        if pod is None:
            return [note(f"not tried: no pod runs in namespace {namespace}", "start a pod, or choose another with -n")]
        probed = {transport: await _probed(transport, server, pod) for transport in Transport}
        works = any(isinstance(one, ProbeTimes) for one in probed.values())
        return [_transport(transport, pod, one, works=works) for transport, one in probed.items()]

    async def proxy_check(self) -> Iterable[Finding]:
        """Names the proxy to the API server and the setting it comes from, without the password in its URL."""
        server = (await self.config.given()).server
        if server.proxy is None:
            return [ok(f"no proxy is configured for {server.host}")]
        return [note(f"{server.host} is reached through {server.proxy}")]

    async def permissions_check(self) -> Iterable[Finding]:
        """Asks the API server's authorizer (SelfSubjectAccessReview) for each verb that a forward may need.

        One finding for each thing that is forbidden in the namespace, with its effect, and one for all namespaces.
        """
        await self.reached.given()
        server, namespace = (await self.config.given()).server, await self.namespace()
        others = (*(kind for kind in KINDS if kind is not POD), ENDPOINT_SLICE)
        actions = [*_reading(POD), *FORWARD, *(action for kind in others for action in _reading(kind))]
        async with ApiClient(server) as client:
            here = await _missing(client, [replace(action, namespace=namespace) for action in actions])
            everywhere = await _missing(client, actions)
        findings = [_forbidden(thing, verbs, namespace) for thing, verbs in here.items()]
        findings = findings or [ok(f"all that a forward in namespace {namespace} may need is allowed")]
        return [*findings, _everywhere(everywhere, namespace)]


async def _probed(transport: Transport, server: ApiServer, pod: PodRef) -> ProbeTimes | TransportError:
    try:
        return await probe(transport, server, pod)
    except TransportError as problem:
        return problem


def _transport(transport: Transport, pod: PodRef, probed: ProbeTimes | TransportError, *, works: bool) -> Finding:
    """The finding on one transport. `works`: at least one of them works, which is enough."""
    if isinstance(probed, ProbeTimes):
        opened, trip = _milliseconds(probed.opened), _milliseconds(probed.round_trip)
        return ok(f"{transport.value}: a session to pod {pod.namespace}/{pod.name} in {opened}, round trip {trip}")
    said = f"{transport.value}: {probed}"
    if works:
        return note(said, f"sessions are opened by {transport.other.value}")
    forbidden = isinstance(probed, RefusedError) and probed.status == 403
    return error(said, "see permissions" if forbidden else "a proxy in between may block both transports")


async def _round_trip(client: ApiClient) -> float:
    """Measures one request with a small answer on an open connection, in seconds."""
    began = trio.current_time()
    await _version(client)
    return trio.current_time() - began


async def _version(client: ApiClient) -> str:
    """The server's version; "" if this user may not read it. Raises ClusterError."""
    try:
        return await client.server_version()
    except ApiError as refusal:
        if refusal.code == 403:
            return ""
        raise


def _judged(version: str) -> Finding:
    number = re.match(r"v1\.(\d+)", version)
    supported = f"supported from 1.{OLDEST} on, tested with {TESTED}"
    if number is None:
        return note(f"its version is {version or 'not shown to this user'}; {supported}")
    if int(number[1]) < OLDEST:
        return error(f"version {version}; {supported}", "upgrade the cluster")
    return ok(f"version {version}; {supported}")


async def _running_pod(client: ApiClient, namespace: str) -> PodRef | None:
    """Finds a Ready pod of the namespace, else any running one; None without one. Raises ClusterError."""
    pods = [cast("Pod", item) for item in (await client.list(Watch(POD, namespace))).objects]
    running = [pod for pod in pods if pod.status.phase == "Running" and not pod.deleting]
    best = min(running, key=lambda pod: (not pod.ready, pod.metadata.name), default=None)
    return PodRef(best.metadata.namespace, best.metadata.name, best.metadata.uid) if best else None


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def _reading(kind: Kind) -> tuple[Action, ...]:
    group = kind.path.removeprefix("/apis/").rpartition("/")[0] if kind.path.startswith("/apis/") else ""
    return tuple(Action(verb, kind.plural, group) for verb in READ)


async def _missing(client: ApiClient, actions: Sequence[Action]) -> dict[str, tuple[str, ...]]:
    """The verbs that the API server forbids, for each resource. Raises ClusterError."""
    allowed: set[Action] = set()
    problems: list[ClusterError] = []
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def review(action: Action) -> None:
        async with limiter:
            try:
                if await client.is_allowed(action):
                    allowed.add(action)
            except ClusterError as problem:
                problems.append(problem)

    async with trio.open_nursery() as nursery:
        for action in actions:
            nursery.start_soon(review, action)
    if problems:
        raise problems[0]
    missing: dict[str, tuple[str, ...]] = {}
    for action in actions:
        if action not in allowed:
            missing[action.thing] = (*missing.get(action.thing, ()), action.verb)
    return missing


def _forbidden(thing: str, verbs: tuple[str, ...], namespace: str) -> Finding:
    what = f"{' and '.join(verbs)} {thing} in namespace {namespace} is not allowed"
    if thing == "pods":
        return error(f"{what}: no forward finds its pods", REMEDY)
    if thing == "replicasets":
        lost = "no ReplicaSet can be forwarded to, and a Deployment's pods are found by their names"
        return warning(f"{what}: {lost}", REMEDY)
    if thing != "pods/portforward":
        return warning(f"{what}: forwards to {thing} are not possible there", REMEDY)
    if len(verbs) == len(FORWARD):
        return error(f"{what}: nothing can be forwarded there", REMEDY)
    left = Transport.WEBSOCKET if verbs == ("create",) else Transport.SPDY
    return warning(f"{what}: sessions can use {left.value} only", REMEDY)


def _everywhere(missing: Mapping[str, tuple[str, ...]], namespace: str) -> Finding:
    if not missing:
        return ok("the same in all namespaces")
    by_verbs: dict[tuple[str, ...], list[str]] = {}
    for thing, verbs in missing.items():
        by_verbs.setdefault(verbs, []).append(thing)
    what = "; ".join(f"{' and '.join(verbs)} {', '.join(things)}" for verbs, things in by_verbs.items())
    found = f"not allowed in all namespaces: {what}; services and pods are looked for in namespace {namespace}"
    return note(f"{found} and in those that Skaffold names", "for a deploy to other namespaces: -n, or a ClusterRole")
