"""Builds and runs the parts that all forwarding commands share: watches, plan loop, forwards, gateway and outputs.

The facts come from `skaffold_source` or `cluster_source`; `lifecycle` cancels all on a signal.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from random import Random
from typing import TYPE_CHECKING, NoReturn

import trio
from msgspec.structs import replace

from forwarders.early_ports import close_early
from forwarders.errors import BindError, TransportError
from forwarders.fleet import Fleet
from forwarders.listeners import Bound, bind
from forwarders.spec import Counts, ForwardSpec, PodRef, PortBook, PortPolicy, PortRequest
from forwarders.system import files
from forwarders.tasks import kept, watch_sleep
from forwarders.transports import connecting
from forwarders.transports.api_server import ClusterRoute
from watcher.board.addresses import is_loopback
from watcher.board.board import Board
from watcher.board.records import ExplainRecord, ForwardRecord
from watcher.board.runtime_files import About, current_folder
from watcher.cli.collected import Options
from watcher.cli.lifecycle import ExecCommand
from watcher.cli.sinks import Outputs, StatusAddress
from watcher.cluster.clusters import ClusterConnection, OtherClusters
from watcher.cluster.kinds import POD, Pod
from watcher.cluster.store import Watch
from watcher.config.entries import DirectMode
from watcher.errors import UsageError, WatcherError
from watcher.loop import Loop
from watcher.plan.facts import Facts

if TYPE_CHECKING:
    from watcher.gateway_names import GatewayNames, GatewayRequest

logger = logging.getLogger("portside")

# New container objects until a collection, and collections until one of older objects. The start has others
# (portside/__main__.py). A collection stops every forward: one of the middle generation 10 ms, a full one 100 ms with
# 1,600 open connections. Opening these and a request on each makes half the objects that start a full one. Connections
# leave no cycles, sessions do.
GC_THRESHOLDS = (700, 10, 100)
# Seconds that the last lines may take when the reader of a pipe is slow.
LAST_LINES = 0.3


class GatewayServer:
    """The gateway of one portside: a bound listener, and the names of the forwards, which the loop updates."""

    def __init__(self, request: GatewayRequest, bound: Bound, names: GatewayNames) -> None:
        self.names = names
        self._request = request
        self._bound = bound

    @classmethod
    async def bind(cls, request: GatewayRequest | None) -> GatewayServer | None:
        """Binds the requested port; None without a request. Raises UsageError if the port is taken.

        There is no substitute for the port, because it is part of the URL of every name.
        """
        if request is None:
            return None
        from watcher.gateway_names import GatewayNames

        port = PortRequest(PortPolicy.DEMANDED, request.port)
        try:
            spec = ForwardSpec(id="gateway", address=request.address, port=port, group="gateway")
            bound = await bind(spec, PortBook())
        except BindError as error:
            raise UsageError(f"{request.origin}: {error}") from None
        if not is_loopback(request.address):
            logger.warning(
                "the gateway at %s:%d can be reached from other machines, and all forwards through it",
                request.address,
                request.port,
            )
        return cls(request, bound, GatewayNames(request))

    async def serve(self, fleet: Fleet) -> None:
        """Serves the gateway until cancelled."""
        from forwarders.gateway.gateway import Gateway

        await Gateway(self.names, fleet.adopt, self._request.suffixes).run(self._bound)


class Runtime:
    """One running portside: `run` forwards until it is cancelled, and then closes the listeners at once.

    `context`, `namespace`: Kubernetes' names for people; "" without a cluster. `skaffold`: the API that is followed.
    """

    def __init__(
        self,
        command: str,
        options: Options,
        gateway: GatewayServer | None,
        *,
        context: str = "",
        namespace: str = "",
        skaffold: str = "",
    ) -> None:
        connecting.install_resolver()
        self.command = command
        self._gateway = gateway
        self._options = options
        self._outputs = Outputs(command, options, context)
        self._status = StatusAddress.from_options(options)
        self._about = About(
            pid=os.getpid(),
            url=self._status.url if self._status else "",
            command=command,
            folder=current_folder(),
            context=context,
            namespace=namespace,
            skaffold=skaffold,
        )
        self.board = Board(
            self._about,
            explain=self._explain,
            counters=self._counters,
            sessions=self._sessions,
            confirming=self._confirming,
            retry=self._retry,
            pod_log=self._pod_log,
        )
        self._cluster: ClusterConnection | None = None
        self.others = OtherClusters(options.kubeconfig or None, self.touch)
        self._loop: Loop | None = None
        self._fleet: Fleet | None = None
        self.failed = False  # `run` returned because nothing that was requested can ever work

    @property
    def exec_command(self) -> ExecCommand | None:
        """The command of --exec, which the caller runs beside `run`."""
        return self._outputs.exec_command

    def with_clusters(self, facts: Facts) -> Facts:
        """Returns the facts with the current objects of the clusters that they refer to."""
        if self._cluster is None:
            return facts
        config = self._cluster.config
        contexts = sorted((facts.contexts | {entry.context for entry in facts.active_entries}) - {"", config.context})
        return replace(
            facts,
            cluster=self._cluster.watches.snapshot,
            context=config.context,
            context_namespace=config.namespace,
            others=self.others.seen(contexts),
            direct=self._direct(facts.direct_mode, contexts),
        )

    def _direct(self, mode: DirectMode, contexts: Iterable[str]) -> frozenset[str]:
        """Returns the keys of the clusters whose pods may be reached at their own addresses (--direct)."""
        if mode is DirectMode.ALWAYS:
            return frozenset({"", *contexts})
        if mode is DirectMode.NEVER or self._cluster is None:
            return frozenset()
        clusters = {"": self._cluster, **self.others.connected}
        return frozenset(key for key, cluster in clusters.items() if cluster.own_network.is_inside)

    def touch(self) -> None:
        """Call it when the facts have changed: then the plan is made again."""
        if self._loop is not None:
            self._loop.touch()

    def refresh(self) -> None:
        """Call it when a deploy has ended: lists from before it count only until there are newer ones."""
        if self._loop is not None:
            self._loop.unsettle()
        if self._cluster is not None:
            self._cluster.watches.refresh()
        self.others.refresh()

    async def run(
        self, cluster: ClusterConnection | None, gather: Callable[[], Facts], *, end_when_hopeless: bool = False
    ) -> None:
        """Forwards what the plan of `gather()` requests, by default in `cluster`.

        With `end_when_hopeless` it returns when nothing that was requested can ever work.
        """
        files.raise_descriptor_limit()
        with contextlib.ExitStack() as stack:
            if self._status is not None:
                stack.enter_context(self._status.announced(self._about))
            async with trio.open_nursery() as nursery:
                # Shielded, so that cancellation does not suppress the last lines.
                outputs = trio.CancelScope(shield=True)
                nursery.start_soon(self._show, outputs)
                try:
                    await self._forward(cluster, gather, end_when_hopeless=end_when_hopeless)
                finally:
                    self.board.close()
                    outputs.deadline = trio.current_time() + LAST_LINES

    async def _forward(
        self, cluster: ClusterConnection | None, gather: Callable[[], Facts], *, end_when_hopeless: bool
    ) -> None:
        async with trio.open_nursery() as nursery:
            self._cluster = cluster
            gateway = self._gateway
            self._loop = loop = Loop(gather, self._want, self.board, gateway.names if gateway else None)
            route = ClusterRoute(_no_session) if cluster is None else cluster.route
            self._fleet = fleet = Fleet(lambda name: self.others.route(name) if name else route, Random(), loop.report)
            await nursery.start(fleet.run)
            watch = partial(watch_sleep, partial(_after_sleep, fleet.pools.check, route.on_silence, self.others.check))
            nursery.start_soon(kept, logger, "noticing that the machine slept", watch)
            if cluster is not None:
                nursery.start_soon(cluster.run, fleet.pools.reopen)
                nursery.start_soon(self.others.run, fleet.pools.reopen)
            await loop.plan_once(fleet)
            close_early()
            gc.freeze()  # what exists now is code and stays; a collection of it would pause every forward for 30 ms
            gc.set_threshold(*GC_THRESHOLDS)
            if gateway is not None:
                nursery.start_soon(kept, logger, "the gateway", partial(gateway.serve, fleet))
            if self._status is not None:
                nursery.start_soon(kept, logger, "the status address", partial(self._status.serve, self.board))
            if end_when_hopeless:
                nursery.start_soon(loop.run, fleet)
                await self.board.until(lambda: loop.hopeless)
                self.failed = True
            else:
                await loop.run(fleet)
            with trio.move_on_after(LAST_LINES):
                await self.board.drained()  # show the reason before the state `stopped`
            nursery.cancel_scope.cancel()

    async def _explain(self) -> list[ExplainRecord]:
        return await self._loop.explained() if self._loop else []

    def _counters(self) -> Mapping[str, Counts]:
        return self._fleet.counters() if self._fleet else {}

    def _sessions(self) -> int:
        return self._fleet.pools.sessions if self._fleet else 0

    def _confirming(self, ident: str, port: int, confirmed: Callable[[], None]) -> AbstractContextManager[None]:
        return self._fleet.confirming(ident, port, confirmed) if self._fleet else contextlib.nullcontext()

    def _retry(self, ident: str) -> str:
        return self._loop.retry(ident) if self._loop else "nothing is forwarded yet"

    async def _pod_log(self, record: ForwardRecord, lines: int) -> str:
        """Requests the last log lines of the pod that serves a forward. Raises WatcherError."""
        cluster = self._cluster
        if cluster is not None and record.context not in {"", cluster.config.context}:
            cluster = self.others.connected.get(record.context)
        if cluster is None:
            raise WatcherError("there is no cluster to ask")
        container = record.container
        if not container:
            pod = await cluster.client.get(POD, record.namespace, record.pod)
            container = pod.container_at(record.pod_port) if isinstance(pod, Pod) else ""
        return await cluster.client.pod_log(record.namespace, record.pod, container, lines)

    def _want(self, watches: frozenset[Watch]) -> None:
        if self._cluster is not None:
            self._cluster.watches.want(frozenset(watch for watch in watches if not watch.cluster))
        self.others.want(watches)

    async def _show(self, scope: trio.CancelScope) -> None:
        with scope:
            await self._outputs.run(self.board)


def _after_sleep(*checks: Callable[[], None]) -> None:
    logger.info("the machine or this process was suspended; checking every session and watch")
    for check in checks:
        check()


async def _no_session(pod: PodRef) -> NoReturn:
    raise TransportError(f"pod {pod.name} cannot be reached: no cluster is connected")
