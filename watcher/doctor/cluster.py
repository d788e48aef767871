"""Owns the checks of the way to a cluster: kubeconfig, API server, version, proxies, a session to a pod.

Refuses to change anything there, and to name what a kubeconfig holds beside names, files and addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import cast

import trio
from msgspec import Struct

from forwarders.spec import PodRef
from forwarders.transports.errors import RefusedError, TransportError
from forwarders.transports.spdy import open_channel
from watcher.cluster.client import Client
from watcher.cluster.credentials import ClusterConfig, load
from watcher.cluster.errors import ApiError, ClusterError, KubeconfigError
from watcher.cluster.kinds import POD
from watcher.cluster.objects import Pod
from watcher.cluster.store import Watch
from watcher.doctor.examine import Once
from watcher.doctor.findings import Finding, NotCheckedError, error, note, ok, warning
from watcher.doctor.project import ProjectFiles

# Seconds. A login plugin may ask a server far away, or its user; a server that needs longer than this is not usable.
LOGIN, ANSWER = 30.0, 15.0
# The best of some is the way's own; the others have waited for something else on this machine.
SAMPLES = 3
# EndpointSlices and CronJobs are read as v1, which is there from this minor version of Kubernetes 1 on.
OLDEST = 21
TESTED = "1.34"
_PROXY_VARIABLES = {"http_proxy", "https_proxy", "all_proxy"}


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
        return await load(*self._asked)

    async def _reach(self) -> Reached:
        config = await self.config.given()
        async with Client(config.server) as client:
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
        async with Client(config.server) as client:
            return [ok(f"{config.source}, {context}, namespace {await self.namespace()}, server {client.url}")]

    async def server_check(self) -> Iterable[Finding]:
        await self.config.given()
        try:
            reached = await self.reached()
        except ClusterError as problem:
            remedy = "log in again" if isinstance(problem, ApiError) else "start it, or mend the way there (VPN, proxy)"
            return [error(str(problem), remedy)]
        return [ok(f"answers, round trip {_milliseconds(reached.round_trip)}"), _judged(reached.version)]

    async def transport_check(self) -> Iterable[Finding]:
        """A session to a pod that runs, opened and closed again: nothing is dialled in the pod."""
        await self.reached.given()
        server, namespace = (await self.config.given()).server, await self.namespace()
        async with Client(server) as client:
            pod = await _running_pod(client, namespace)
        if pod is None:
            return [note(f"not tried: no pod runs in namespace {namespace}", "try again once one does, or give -n")]
        began = trio.current_time()
        try:
            channel, _ = await open_channel(server, pod)
        except RefusedError as refusal:
            return [error(str(refusal), "see permissions" if refusal.status == 403 else "see the API server's log")]
        except TransportError as problem:
            return [error(str(problem), "a proxy between here and the API server may not let SPDY upgrades through")]
        channel.close()
        took = _milliseconds(trio.current_time() - began)
        return [ok(f"SPDY/3.1: a session to pod {pod.namespace}/{pod.name} stood after {took}")]

    async def proxy_check(self, environ: Mapping[str, str]) -> Iterable[Finding]:
        """The variables that kubectl would ask for a proxy; their values may hold a password and are not shown."""
        config = await self.config.given()
        names = sorted(name for name, value in environ.items() if value and name.lower() in _PROXY_VARIABLES)
        if not names and not config.proxy:
            return [ok(f"none is asked for on the way to {config.server.host}")]
        by = ", ".join([*names, *(["the kubeconfig's proxy-url"] if config.proxy else [])])
        remedy = "where there is no direct way: run kubectl proxy, and give a kubeconfig for its address"
        return [warning(f"{by} may ask for a proxy to {config.server.host}; portside connects directly", remedy)]


async def _round_trip(client: Client) -> float:
    """Seconds for a small answer, on a connection that stands."""
    began = trio.current_time()
    await _version(client)
    return trio.current_time() - began


async def _version(client: Client) -> str:
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


async def _running_pod(client: Client, namespace: str) -> PodRef | None:
    """A Ready one, else any that runs. Raises ClusterError."""
    pods = [cast("Pod", item) for item in (await client.list(Watch(POD, namespace))).objects]
    running = [pod for pod in pods if pod.status.phase == "Running" and not pod.deleting]
    best = min(running, key=lambda pod: (not pod.ready, pod.metadata.name), default=None)
    return PodRef(best.metadata.namespace, best.metadata.name, best.metadata.uid) if best else None


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
