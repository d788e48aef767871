"""Runs `watch --cluster`: forwards what is labelled in the cluster and what the files name, without any Skaffold.

It waits for no deploy: what is missing is reported as missing, until it is there.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import NamedTuple

import trio
from msgspec.structs import replace

from forwarders.tasks import kept
from watcher.cli.configured import Configured
from watcher.cli.gateway import Door
from watcher.cli.host import Host
from watcher.cli.options import Options
from watcher.cluster.cluster_config import ClusterConfig, load_cluster_config
from watcher.cluster.clusters import ClusterConnection
from watcher.plan.facts import Facts

logger = logging.getLogger("portside")


class Wanted(NamedTuple):
    """Which objects count: those of `run_id` or `selector`, else those that any Skaffold labelled.

    `namespaces`: where they are looked for; () for the context's, None for all.
    """

    run_id: str
    selector: str
    namespaces: tuple[str, ...] | None


class Alone:
    """One portside without Skaffold. `prepare` finds every mistake before anything is bound."""

    def __init__(self, host: Host, cluster: ClusterConfig, configured: Configured, wanted: Wanted) -> None:
        self.host = host
        self._cluster = cluster
        self._configured = configured
        self._wanted = wanted
        here = frozenset({cluster.namespace or "default"})
        self._within = frozenset() if wanted.namespaces is None else frozenset(wanted.namespaces) or here

    @classmethod
    async def prepare(cls, options: Options, configured: Configured, wanted: Wanted) -> Alone:
        """Raises UsageError."""
        cluster = await load_cluster_config(options.kubeconfig or None, configured.kube_context or None)
        door = await Door.opened(configured.gateway)
        within = wanted.namespaces or (cluster.namespace or "default",)
        namespace = "" if wanted.namespaces is None else ", ".join(within)
        host = Host("watch", options, door, context=cluster.title, namespace=namespace)
        return cls(host, cluster, configured, wanted)

    async def run(self) -> None:
        """Forwards until cancelled."""
        async with trio.open_nursery() as nursery:
            follow = partial(self._configured.run, self.host.touch)
            nursery.start_soon(kept, logger, "following the configuration", follow)
            async with ClusterConnection(self._cluster, self.host.touch) as cluster:
                await self.host.run(cluster, self._gather)

    def _gather(self) -> Facts:
        return replace(
            self.host.located(self._configured.facts),
            run_id=self._wanted.run_id,
            selector=self._wanted.selector,
            any_run=not self._wanted.run_id,
            namespaces=self._within,
            within=self._within,
        )
