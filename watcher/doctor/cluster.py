"""Owns the checks of the way to a cluster: kubeconfig, API server, version, proxies, a session to a pod.

Refuses to change anything there, and to name what a kubeconfig holds beside names, files and addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import cast

import trio
from msgspec import Struct

from forwarders.errors import RefusedError, TransportError
from forwarders.spec import PodRef
from forwarders.transports import names
from forwarders.transports.opener import ProbeTimes, Transport, probe
from forwarders.transports.server import ApiServer
from watcher.cluster.client import ApiClient
from watcher.cluster.cluster_config import ClusterConfig, load_cluster_config
from watcher.cluster.kinds import POD, Pod
from watcher.cluster.store import Watch
from watcher.doctor.examine import Once
from watcher.doctor.findings import Finding, NotCheckedError, error, note, ok
from watcher.doctor.project import ProjectFiles
from watcher.errors import ApiError, ClusterError, KubeconfigError

# Seconds. A login plugin may ask a server far away, or its user; a server that needs longer than this is not usable.
LOGIN, ANSWER = 30.0, 15.0
# The best of some is the way's own; the others have waited for something else on this machine.
SAMPLES = 3
# EndpointSlices and CronJobs are read as v1, which is there from this minor version of Kubernetes 1 on.
OLDEST = 21
TESTED = "1.34"


class Reached(Struct, frozen=True):
    """An API server that answers: its version ("" where it does not tell us), and seconds for one answer."""

    version: str
    round_trip: float


class Cluster:
    """What the checks of one cluster share. `kubeconfig`, `context`, `namespace`: as asked for, "" for none.

    `files` say whether any is needed.
    """

    def __init__(self, kubeconfig: str, context: str, namespace: str, files: ProjectFiles) -> None:
        self._asked = kubeconfig or None, context or None
        self._files = files
        self._namespace = namespace
        self.config = Once(self._load, "a usable kubeconfig", LOGIN)
        self.reached = Once(self._reach, "an API server that answers", ANSWER)

    async def _load(self) -> ClusterConfig:
        if await self._files.docker():
            raise NotCheckedError("not needed: the project here deploys with Docker alone")
        names.install()
        return await load_cluster_config(*self._asked)

    async def _reach(self) -> Reached:
        config = await self.config.given()
        async with ApiClient(config.server) as client:
            version = await _version(client)
            return Reached(version, min([await _round_trip(client) for _ in range(SAMPLES)]))

    async def namespace(self) -> str:
        """The one that forwards go to unless they say otherwise. Raises NotCheckedError."""
        return self._namespace or (await self.config.given()).namespace or "default"

    async def kubeconfig_check(self) -> Iterable[Finding]:
        try:
            config = await self.config()
        except KubeconfigError as problem:
            return [error(str(problem), "correct the file, or name another: --kubeconfig, --kube-context")]
        context = f"context {config.context}" if config.context else "no context"
        async with ApiClient(config.server) as client:
            found = [ok(f"{config.source}, {context}, namespace {await self.namespace()}, server {client.url}")]
        if config.problem:
            found.append(error(config.problem, "log in again, or ask whoever runs the cluster for a new certificate"))
        return found

    async def server_check(self) -> Iterable[Finding]:
        await self.config.given()
        try:
            reached = await self.reached()
        except ClusterError as problem:
            remedy = "log in again" if isinstance(problem, ApiError) else "start it, or mend the way there (VPN, proxy)"
            return [error(str(problem), remedy)]
        return [ok(f"answers, round trip {_milliseconds(reached.round_trip)}"), _judged(reached.version)]

    async def transport_check(self) -> Iterable[Finding]:
        """A session to a pod that runs, by each transport, and a PING on it: nothing is dialled in the pod."""
        await self.reached.given()
        server, namespace = (await self.config.given()).server, await self.namespace()
        async with ApiClient(server) as client:
            pod = await _running_pod(client, namespace)
        if pod is None:
            return [note(f"not tried: no pod runs in namespace {namespace}", "try again once one does, or give -n")]
        probed = {transport: await _probed(transport, server, pod) for transport in Transport}
        works = any(isinstance(one, ProbeTimes) for one in probed.values())
        return [_transport(transport, pod, one, works=works) for transport, one in probed.items()]

    async def proxy_check(self) -> Iterable[Finding]:
        """Which one leads to the API server, and who says so; a password in its URL is not shown."""
        server = (await self.config.given()).server
        if server.proxy is None:
            return [ok(f"none is asked for on the way to {server.host}")]
        return [note(f"{server.host} is reached through {server.proxy}")]


async def _probed(transport: Transport, server: ApiServer, pod: PodRef) -> ProbeTimes | TransportError:
    try:
        return await probe(transport, server, pod)
    except TransportError as problem:
        return problem


def _transport(transport: Transport, pod: PodRef, probed: ProbeTimes | TransportError, *, works: bool) -> Finding:
    """`works`: one of the transports does, and that is enough."""
    if isinstance(probed, ProbeTimes):
        opened, trip = _milliseconds(probed.opened), _milliseconds(probed.round_trip)
        return ok(f"{transport.value}: a session to pod {pod.namespace}/{pod.name} in {opened}, round trip {trip}")
    said = f"{transport.value}: {probed}"
    if works:
        return note(said, f"sessions are opened by {transport.other.value}")
    forbidden = isinstance(probed, RefusedError) and probed.status == 403
    return error(said, "see permissions" if forbidden else "a proxy on the way may let through neither upgrade")


async def _round_trip(client: ApiClient) -> float:
    """Seconds for a small answer, on a connection that stands."""
    began = trio.current_time()
    await _version(client)
    return trio.current_time() - began


async def _version(client: ApiClient) -> str:
    """An empty one where it is not for us to know. Raises ClusterError."""
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
        return note(f"its version is {version or 'not told to this user'}; {supported}")
    if int(number[1]) < OLDEST:
        return error(f"version {version}; {supported}", "upgrade the cluster")
    return ok(f"version {version}; {supported}")


async def _running_pod(client: ApiClient, namespace: str) -> PodRef | None:
    """A Ready one, else any that runs. Raises ClusterError."""
    pods = [cast("Pod", item) for item in (await client.list(Watch(POD, namespace))).objects]
    running = [pod for pod in pods if pod.status.phase == "Running" and not pod.deleting]
    best = min(running, key=lambda pod: (not pod.ready, pod.metadata.name), default=None)
    return PodRef(best.metadata.namespace, best.metadata.name, best.metadata.uid) if best else None


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
