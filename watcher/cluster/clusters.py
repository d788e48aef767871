"""Connects to each cluster that has forwards.

Each has its own client, watches, sessions and rate limit, so a cluster that is away affects only its own forwards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from random import Random
from typing import Any, Self

import trio
from msgspec.structs import replace

from forwarders.backoff import TURN, RetryLimiter
from forwarders.spec import PodRef
from forwarders.tasks import Tasks, kept
from forwarders.transports.api_server import ApiServer, ClusterRoute
from forwarders.transports.opener import Opener
from watcher.cluster import kubeconfig
from watcher.cluster.api_client import ApiClient
from watcher.cluster.cluster_config import ClusterConfig, follow_kubeconfig, load_cluster_config
from watcher.cluster.kinds import POD, Pod
from watcher.cluster.own_network import OwnNetwork
from watcher.cluster.store import OtherCluster, Watch
from watcher.cluster.watches import Watches
from watcher.errors import ClusterError, KubeconfigError
from watcher.user_files import change_since, stamps

logger = logging.getLogger("portside.cluster")

# Seconds until a context that cannot be used is retried, besides after edits of the kubeconfig: a login plugin may have
# failed because a network was missing.
RETRY = 30.0


class ClusterConnection:
    """One cluster. After `__aenter__` its client works; `run` runs its watches and follows its kubeconfig.

    Calls `on_change` synchronously after each change of its objects.
    """

    def __init__(self, config: ClusterConfig, on_change: Callable[[], None]) -> None:
        self.config = config
        self.client = ApiClient(config.server)
        gate = RetryLimiter(TURN)
        self.watches = Watches(self.client, on_change, Random(), gate=gate)  # noqa: S311 - jitter
        self.own_network = OwnNetwork(self.client, on_change)
        self._opener = Opener(config.server)
        self.route = ClusterRoute(self._opener.open, gate, self.watches.check, self._confirmed, self._shown)

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.client.__aexit__(*error)

    async def run(self, reopen: Callable[[], None]) -> None:
        """Runs until cancelled. Calls `reopen` when new sessions go to another API server."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.watches.run)
            nursery.start_soon(kept, logger, "finding out whether portside runs in the cluster", self.own_network.run)
            following = partial(follow_kubeconfig, self.config, partial(self._move, reopen))
            nursery.start_soon(kept, logger, "following the kubeconfig", following)

    async def _confirmed(self, pod: PodRef, address: str) -> bool:
        """Whether the API server says now that the pod has this address."""
        try:
            found = await self.client.get(POD, pod.namespace, pod.name)
        except ClusterError:
            return False
        return isinstance(found, Pod) and found.metadata.uid == pod.uid and _has(found, address)

    def _shown(self, pod: PodRef, address: str) -> bool:
        """Whether the watch shows the pod with this address: it says so before the next plan is made."""
        found = self.watches.snapshot.pod(pod.namespace, pod.name, pod.uid)
        return found is not None and _has(found, address)

    async def _move(self, reopen: Callable[[], None], server: ApiServer) -> None:
        """Use this server from now on. Listeners and open connections stay."""
        self._opener.move(server)
        await self.client.move(server)
        self.watches.restart()
        reopen()


def _has(pod: Pod, address: str) -> bool:
    return not pod.deleting and address in pod.addresses


class OtherClusters:
    """The clusters other than the default one, by context. Each is connected when its first forward is planned.

    It stays connected: without forwards it has no watches and no sessions. `on_change`: see ClusterConnection.
    """

    def __init__(self, asked: str | None, on_change: Callable[[], None]) -> None:
        self._asked = asked
        self._on_change = on_change
        self._connected: dict[str, ClusterConnection] = {}
        self._problems: dict[str, str] = {}  # of those that are not connected
        self._reopen: Callable[[str], None] = lambda _: None
        self._tasks: Tasks | None = None
        self._stack = AsyncExitStack()

    def add(self, context: str, cluster: ClusterConnection) -> None:
        """Add a cluster that the caller has connected and keeps connected while this runs."""
        self._connected[context] = cluster

    def seen(self, contexts: Iterable[str]) -> tuple[OtherCluster, ...]:
        """The objects in these contexts. New ones are connected."""
        return tuple(self._seen(context) for context in contexts)

    def connection(self, context: str) -> ClusterConnection | None:
        """The cluster of this context, if it is connected."""
        return self._connected.get(context)

    def want(self, watches: frozenset[Watch]) -> None:
        """Set the wanted watches of all these clusters."""
        for context, cluster in self._connected.items():
            own = (replace(watch, cluster="") for watch in watches if watch.cluster == context)
            cluster.watches.want(frozenset(own))

    def route(self, context: str) -> ClusterRoute:
        """The route to a cluster whose pods are known, so it is connected."""
        if context not in self._connected:
            raise LookupError(f"the cluster of context {context} is not connected")
        return self._connected[context].route

    @property
    def own_networks(self) -> Mapping[str, OwnNetwork]:
        """Of the connected clusters, by context."""
        return {context: cluster.own_network for context, cluster in self._connected.items()}

    def check(self) -> None:
        """The process slept: resume every watch on a new connection."""
        for cluster in self._connected.values():
            cluster.watches.check()

    async def run(self, reopen: Callable[[str], None]) -> None:
        """Runs until cancelled. `reopen`: as for ClusterConnection.run, with the context."""
        self._reopen = reopen
        async with self._stack, trio.open_nursery() as nursery:
            with Tasks(nursery) as self._tasks:
                for context in (*self._connected, *self._problems):
                    self._tasks.start(self._keep, context)
                await trio.sleep_forever()

    def _seen(self, context: str) -> OtherCluster:
        cluster = self._connected.get(context)
        if cluster is not None:
            return OtherCluster(context, cluster.watches.snapshot, cluster.config.namespace)
        if context not in self._problems:
            self._problems[context] = ""
            if self._tasks is not None:
                self._tasks.start(self._keep, context)
        return OtherCluster(context, problem=self._problems[context])

    async def _keep(self, context: str) -> None:
        await kept(logger, f"context {context}", partial(self._use, context))

    async def _use(self, context: str) -> None:
        if context not in self._connected:
            connection = ClusterConnection(await self._loaded(context), self._on_change)
            self._connected[context] = await self._stack.enter_async_context(connection)
            del self._problems[context]
            self._on_change()
        await self._connected[context].run(partial(self._reopen, context))

    async def _loaded(self, context: str) -> ClusterConfig:
        while True:
            before = stamps(kubeconfig.files(self._asked))
            try:
                return await load_cluster_config(self._asked, context, starting=False)
            except KubeconfigError as error:
                if str(error) != self._problems[context]:
                    logger.warning("%s; only its forwards are missing", error)
                self._problems[context] = str(error)
                self._on_change()
            with trio.move_on_after(RETRY):
                await change_since(before)
