"""Connects to each cluster that has forwards, and runs the watches of each.

Each cluster has its own client, watches, sessions and rate limit, so one that is away affects only its own forwards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from datetime import datetime
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
from watcher.cluster.reflector import Reflector
from watcher.cluster.store import OtherCluster, Problem, Store, Watch, WatchCache
from watcher.errors import ClusterError, KubeconfigError
from watcher.user_files import change_since, stamps

logger = logging.getLogger("portside.cluster")

# Seconds until a context that cannot be used is retried, besides after edits of the kubeconfig: a login plugin may have
# failed because a network was missing.
RETRY = 30.0


def _local_now() -> datetime:
    return datetime.now().astimezone()


class Watches:
    """Runs the required watches of a cluster, each in a task of its own, so that one failure does not reach the others.

    Calls `on_change` synchronously after each change of `snapshot`, which is live: do not await while reading it.
    `gate`: the rate limiter of the API server.
    """

    def __init__(self, client: ApiClient, on_change: Callable[[], None], random: Random) -> None:
        self.gate = RetryLimiter(TURN)
        self._client = client
        self._random = random
        self._store = Store(on_change)
        self.snapshot = self._store.snapshot
        self._running: dict[Watch, tuple[Reflector, trio.CancelScope]] = {}
        self._tasks: Tasks | None = None

    def want(self, watches: frozenset[Watch]) -> None:
        """Start missing watches; cancel those no longer wanted and drop their objects, without `on_change`."""
        for watch in self._running.keys() - watches:
            reflector, scope = self._running.pop(watch)
            reflector.cache.close()
            scope.cancel()
        for watch in sorted(watches - self._running.keys(), key=repr):
            cache = WatchCache(self._store, watch)
            self._begin(watch, Reflector(self._client, cache, self._random, self.gate, _local_now))

    def _begin(self, watch: Watch, reflector: Reflector) -> None:
        scope = trio.CancelScope()  # a scope serves one run
        self._running[watch] = reflector, scope
        if self._tasks is not None:
            self._tasks.start(_keep, reflector, scope)

    def check(self) -> None:
        """Resume every watch on a new connection: the process slept, or sessions failed.

        HTTP/1.1 has no ping for the old connection. No list is needed, so this costs one request for each watch.
        """
        for reflector, _ in self._running.values():
            reflector.check()
        self.gate.release()

    def refresh(self) -> None:
        """List everything again, because a deploy has ended: a watch's events may come later than Skaffold's.

        The objects stay meanwhile, marked as outdated, without `on_change`.
        """
        for reflector, _ in self._running.values():
            reflector.cache.mark_outdated()
        self.restart()

    def restart(self) -> None:
        """Start every watch with a list, because another API server answers now. The objects stay meanwhile."""
        for reflector, _ in self._running.values():
            reflector.restart()
        self.gate.release()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs the wanted watches until cancelled. A second call just waits: `forward` starts them early."""
        if self._tasks is not None:
            task_status.started()
            await trio.sleep_forever()
        try:
            async with trio.open_nursery() as nursery:
                with Tasks(nursery) as self._tasks:
                    for watch, (reflector, _) in self._running.items():
                        self._begin(watch, reflector)
                    task_status.started()
                    await trio.sleep_forever()
        finally:
            self._tasks = None


async def _keep(reflector: Reflector, scope: trio.CancelScope) -> None:
    def failed(cause: str) -> None:
        reflector.cache.set_error(Problem(f"a bug of portside's: {cause}"))

    with scope:
        await kept(logger, f"watching {reflector.cache.watch.kind.plural}", reflector.run, failed)


class ClusterConnection:
    """One cluster. After `__aenter__` its client works; `run` runs its watches and follows its kubeconfig.

    Calls `on_change` synchronously after each change of its objects.
    """

    def __init__(self, config: ClusterConfig, on_change: Callable[[], None]) -> None:
        self.config = config
        self.client = ApiClient(config.server)
        self.watches = watches = Watches(self.client, on_change, Random())  # noqa: S311 - jitter
        self.own_network = OwnNetwork(self.client, on_change)
        self._opener = Opener(config.server)
        self.route = ClusterRoute(self._opener.open, watches.gate, watches.check, self._confirmed, self._shown)

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.client.__aexit__(*error)

    async def run(self, reopen: Callable[[], None]) -> None:
        """Run the cluster's watches until cancelled. Calls `reopen` when new sessions go to another API server."""
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
        """Whether the watch shows the pod with this address, which it does before the next plan is made."""
        found = self.watches.snapshot.pod(pod.namespace, pod.name, pod.uid)
        return found is not None and _has(found, address)

    async def _move(self, reopen: Callable[[], None], server: ApiServer) -> None:
        """Sends requests to this server from now on. Listeners and open connections stay."""
        self._opener.move(server)
        await self.client.move(server)
        self.own_network.forget()
        self.watches.restart()
        reopen()


def _has(pod: Pod, address: str) -> bool:
    return not pod.deleting and address in pod.addresses


class OtherClusters:
    """The clusters other than the default one, by context. Each is connected when its first forward is planned.

    It stays connected: without forwards it has no watches and no sessions. `on_change`: see ClusterConnection.
    `connected`: those that are, by context; the caller may add one that it keeps connected while this runs.
    """

    def __init__(self, asked: str | None, on_change: Callable[[], None]) -> None:
        self._asked = asked
        self._on_change = on_change
        self.connected: dict[str, ClusterConnection] = {}
        self._problems: dict[str, str] = {}  # of those that are not connected
        self._reopen: Callable[[str], None] = lambda _: None
        self._tasks: Tasks | None = None
        self._stack = AsyncExitStack()

    def seen(self, contexts: Iterable[str]) -> tuple[OtherCluster, ...]:
        """The objects of these contexts' clusters, as far as they are known. Starts to connect to new ones."""
        return tuple(self._seen(context) for context in contexts)

    def want(self, watches: frozenset[Watch]) -> None:
        """Set the wanted watches of all these clusters."""
        for context, cluster in self.connected.items():
            own = (replace(watch, cluster="") for watch in watches if watch.cluster == context)
            cluster.watches.want(frozenset(own))

    def route(self, context: str) -> ClusterRoute:
        """The route to this cluster. Its pods are known, so it is connected."""
        return self.connected[context].route

    def refresh(self) -> None:
        """List everything again, because a deploy has ended."""
        for cluster in self.connected.values():
            cluster.watches.refresh()

    def check(self) -> None:
        """Resume every watch on a new connection, because the process slept."""
        for cluster in self.connected.values():
            cluster.watches.check()

    async def run(self, reopen: Callable[[str], None]) -> None:
        """Run all connected clusters until cancelled. `reopen`: as for ClusterConnection.run, with the context."""
        self._reopen = reopen
        async with self._stack, trio.open_nursery() as nursery:
            with Tasks(nursery) as self._tasks:
                for context in (*self.connected, *self._problems):
                    self._tasks.start(self._keep, context)
                await trio.sleep_forever()

    def _seen(self, context: str) -> OtherCluster:
        cluster = self.connected.get(context)
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
        if context not in self.connected:
            connection = ClusterConnection(await self._loaded(context), self._on_change)
            self.connected[context] = await self._stack.enter_async_context(connection)
            del self._problems[context]
            self._on_change()
        await self.connected[context].run(partial(self._reopen, context))

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
