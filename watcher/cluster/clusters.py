"""Opens the clusters that forwards are in, and keeps them apart.

Each has a client, watches, sessions and a pace of retries of its own, so one that is away costs its own forwards alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from random import Random
from types import TracebackType
from typing import Self

import trio
from msgspec.structs import replace

from forwarders.backoff import TURN, RetryLimiter
from forwarders.pool import ClusterRoute
from forwarders.tasks import Tasks, kept
from forwarders.transports.opener import Opener
from forwarders.transports.server import ApiServer
from watcher.cluster import kubeconfig
from watcher.cluster.client import ApiClient
from watcher.cluster.cluster_config import ClusterConfig, follow_kubeconfig, load_cluster_config
from watcher.cluster.store import OtherCluster, Watch
from watcher.cluster.watches import Watches
from watcher.errors import KubeconfigError
from watcher.user_files import change_since, stamps

logger = logging.getLogger("portside.cluster")

# A context that cannot be used is tried again when the kubeconfig is edited, and this often: a login plugin may have
# failed because a network was missing.
RETRY = 30.0


class ClusterConnection:
    """One cluster in use. Entered, its client may be asked; `run` keeps its watches and follows its kubeconfig.

    `on_change` is called synchronously after each change of what is known of it.
    """

    def __init__(self, config: ClusterConfig, on_change: Callable[[], None]) -> None:
        self.config = config
        self.client = ApiClient(config.server)
        gate = RetryLimiter(TURN)
        self.watches = Watches(self.client, on_change, Random(), gate=gate)  # noqa: S311 - jitter
        self._opener = Opener(config.server)
        self.route = ClusterRoute(self._opener.open, gate, self.watches.check)

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.client.__aexit__(kind, value, traceback)

    async def run(self, reopen: Callable[[], None]) -> None:
        """Until cancelled. `reopen` is called when another API server is to be used for new sessions."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.watches.run)
            following = partial(follow_kubeconfig, self.config, partial(self._move, reopen))
            nursery.start_soon(kept, logger, "following the kubeconfig", following)

    async def _move(self, reopen: Callable[[], None], server: ApiServer) -> None:
        """Everything goes to this server from now on; listeners and open connections stay."""
        self._opener.move(server)
        await self.client.move(server)
        self.watches.restart()
        reopen()


class _Other:
    """A cluster beside the default one: open, or why it is not."""

    def __init__(self, cluster: ClusterConnection | None = None) -> None:
        self.cluster = cluster
        self.problem = ""


class OtherClusters:
    """The clusters beside the default one, by context. One is opened when a forward is first wanted there.

    It stays open: without forwards it has no watches and no sessions. `on_change`: as for ClusterConnection.
    """

    def __init__(self, asked: str | None, on_change: Callable[[], None]) -> None:
        self._asked = asked
        self._on_change = on_change
        self._others: dict[str, _Other] = {}
        self._reopen: Callable[[str], None] = lambda _: None
        self._tasks: Tasks | None = None
        self._stack = AsyncExitStack()

    def add(self, context: str, cluster: ClusterConnection) -> None:
        """One that the caller has opened already, and keeps open while this runs."""
        self._others[context] = _Other(cluster)

    def seen(self, contexts: Iterable[str]) -> tuple[OtherCluster, ...]:
        """What is known of these; those that are new are opened."""
        return tuple(self._seen(context) for context in contexts)

    def want(self, watches: frozenset[Watch]) -> None:
        """Which watches are wanted from now on, of all these clusters together."""
        for context, other in self._others.items():
            if other.cluster is not None:
                own = (replace(watch, cluster="") for watch in watches if watch.cluster == context)
                other.cluster.watches.want(frozenset(own))

    def route(self, context: str) -> ClusterRoute:
        """The way to a cluster whose pods are known, which therefore is open."""
        cluster = self._others[context].cluster
        if cluster is None:
            raise LookupError(f"the cluster of context {context} is not open")
        return cluster.route

    def check(self) -> None:
        """The process slept: every watch goes on over a new connection."""
        for other in self._others.values():
            if other.cluster is not None:
                other.cluster.watches.check()

    async def run(self, reopen: Callable[[str], None]) -> None:
        """Until cancelled. `reopen`: as for ClusterConnection.run, with the context."""
        self._reopen = reopen
        async with self._stack, trio.open_nursery() as nursery:
            with Tasks(nursery) as self._tasks:
                for context, other in self._others.items():
                    self._tasks.start(self._keep, context, other)
                await trio.sleep_forever()

    def _seen(self, context: str) -> OtherCluster:
        other = self._others.get(context)
        if other is None:
            other = self._others[context] = _Other()
            if self._tasks is not None:
                self._tasks.start(self._keep, context, other)
        if other.cluster is None:
            return OtherCluster(context, problem=other.problem)
        return OtherCluster(context, other.cluster.watches.snapshot, other.cluster.config.namespace)

    async def _keep(self, context: str, other: _Other) -> None:
        await kept(logger, f"context {context}", partial(self._use, context, other))

    async def _use(self, context: str, other: _Other) -> None:
        if other.cluster is None:
            config = await self._loaded(context, other)
            other.cluster = await self._stack.enter_async_context(ClusterConnection(config, self._on_change))
            self._on_change()
        await other.cluster.run(partial(self._reopen, context))

    async def _loaded(self, context: str, other: _Other) -> ClusterConfig:
        while True:
            before = stamps(kubeconfig.files(self._asked))
            try:
                return await load_cluster_config(self._asked, context, starting=False)
            except KubeconfigError as error:
                if str(error) != other.problem:
                    logger.warning("%s; its forwards alone are missing", error)
                other.problem = str(error)
                self._on_change()
            with trio.move_on_after(RETRY):
                await change_since(before)
