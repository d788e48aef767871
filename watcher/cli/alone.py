"""Owns `watch --cluster`: forwarding without any Skaffold, by what is labelled in the cluster and by the files.

Refuses to wait for anything to be deployed: what is missing is missing, until it is there.
"""

from __future__ import annotations

import logging
from functools import partial

import trio
from msgspec.structs import replace

from forwarders.bulkhead import kept
from watcher.cli.configured import Configured
from watcher.cli.gateway import Door
from watcher.cli.host import Host
from watcher.cli.options import Options
from watcher.cluster.client import Client
from watcher.cluster.credentials import ClusterConfig, load
from watcher.plan.facts import Facts

logger = logging.getLogger("portside")


class Alone:
    """`run_id`, `selector`: which objects count; without either those that any Skaffold labelled."""

    def __init__(
        self, host: Host, cluster: ClusterConfig, configured: Configured, *, run_id: str, selector: str
    ) -> None:
        self.host = host
        self._cluster = cluster
        self._configured = configured
        self._run_id = run_id
        self._selector = selector

    @classmethod
    async def prepare(cls, options: Options, configured: Configured, *, run_id: str, selector: str) -> Alone:
        """Raises UsageError."""
        cluster = await load(options.kubeconfig or None, configured.kube_context or None)
        door = await Door.opened(configured.gateway)
        return cls(Host("watch", options, door), cluster, configured, run_id=run_id, selector=selector)

    async def run(self) -> None:
        """Forwards until cancelled."""
        async with trio.open_nursery() as nursery:
            follow = partial(self._configured.run, self.host.touch)
            nursery.start_soon(kept, logger, "following the configuration", follow)
            async with Client(self._cluster.server) as client:
                await self.host.run(client, self._gather)

    def _gather(self) -> Facts:
        return replace(
            self._configured.facts,
            context_namespace=self._cluster.namespace,
            cluster=self.host.snapshot,
            run_id=self._run_id,
            selector=self._selector,
            any_run=not self._run_id,
        )
