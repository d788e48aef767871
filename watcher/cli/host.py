"""Owns what every forwarding command runs around its facts: watches, fleet, loop, outputs, status address.

Refuses to know where facts come from, and which signal ends it: a command hands in the one and cancels for the other.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
from collections.abc import Callable
from functools import partial
from random import Random
from typing import NoReturn

import trio
from msgspec.structs import replace

from forwarders.backoff import TURN, RetryLimiter
from forwarders.errors import TransportError
from forwarders.fleet import Fleet
from forwarders.pools import Upstream
from forwarders.spec import PodRef
from forwarders.system import files
from forwarders.tasks import kept, watch_sleep
from forwarders.transports import names
from watcher.board.board import Board
from watcher.board.runtime import About, current_folder
from watcher.cli.gateway import Door
from watcher.cli.options import Options
from watcher.cli.outputs import Outputs
from watcher.cli.serving import StatusAddress
from watcher.cli.user_command import UserCommand
from watcher.cluster.clusters import ClusterConnection, OtherClusters
from watcher.cluster.store import Watch
from watcher.loop import Loop
from watcher.plan.facts import Facts

logger = logging.getLogger("portside")

# How long the last lines may take to get rid of when a pipe is full.
LAST_LINES = 0.3


class Host:
    """One portside's forwarding. `run` serves until it is cancelled; its listeners close at once then.

    `context`, `namespace`: of Kubernetes, for people; "" without a cluster.
    """

    def __init__(
        self, command: str, options: Options, gateway: Door | None, *, context: str = "", namespace: str = ""
    ) -> None:
        names.install()
        self._gateway = gateway
        self.command = command
        self._options = options
        self._outputs = Outputs(command, options, context)
        self._status = StatusAddress.asked(options)
        self._about = About(
            pid=os.getpid(),
            url=self._status.url if self._status else "",
            command=command,
            folder=current_folder(),
            context=context,
            namespace=namespace,
        )
        self.board = Board(self._about)
        self._cluster: ClusterConnection | None = None
        self.others = OtherClusters(options.kubeconfig or None, self.touch)
        self._loop: Loop | None = None
        self.failed = False  # nothing could work, and that was the end

    @property
    def user_command(self) -> UserCommand | None:
        """The command of --exec, which the caller runs beside `run`."""
        return self._outputs.user_command

    def located(self, facts: Facts) -> Facts:
        """`facts` with what is known of the clusters that they are about."""
        if self._cluster is None:
            return facts
        config = self._cluster.config
        named = facts.contexts | {entry.context for entry in facts.active_entries}
        return replace(
            facts,
            cluster=self._cluster.watches.snapshot,
            context=config.context,
            context_namespace=config.namespace,
            others=self.others.seen(sorted(named - {"", config.context})),
        )

    def touch(self) -> None:
        """The facts changed."""
        if self._loop is not None:
            self._loop.touch()

    async def run(
        self,
        cluster: ClusterConnection | None,
        gather: Callable[[], Facts],
        *,
        end_when_hopeless: bool = False,
    ) -> None:
        """Forwards what the plan of `gather()` says, by default in `cluster`; closes the status socket.

        `end_when_hopeless`: return once nothing that was asked for can ever work.
        """
        files.raise_descriptor_limit()
        with contextlib.ExitStack() as stack:
            if self._status is not None:
                stack.enter_context(self._status.announced(self._about))
            async with trio.open_nursery() as nursery:
                # Shielded: what the end itself has to say still goes out.
                outputs = trio.CancelScope(shield=True)
                nursery.start_soon(self._show, outputs)
                try:
                    await self._forward(cluster, gather, end_when_hopeless=end_when_hopeless)
                finally:
                    self.board.close()
                    outputs.deadline = trio.current_time() + LAST_LINES

    async def _forward(
        self,
        cluster: ClusterConnection | None,
        gather: Callable[[], Facts],
        *,
        end_when_hopeless: bool,
    ) -> None:
        async with trio.open_nursery() as nursery:
            self._cluster = cluster
            door = self._gateway
            self._loop = Loop(gather, self._want, self.board, door.names if door else None)
            up = Upstream(_no_session, RetryLimiter(TURN), _nothing) if cluster is None else cluster.upstream
            fleet = Fleet(
                up.open_channel,
                Random(),
                self._loop.report,
                gate=up.gate,
                on_silence=up.on_silence,
                others=self.others.upstream,
            )
            self.board.counters, self.board.sessions = fleet.counters, fleet.sessions
            await nursery.start(fleet.run)
            watch = partial(watch_sleep, partial(_after_sleep, fleet.check, up.on_silence, self.others.check))
            nursery.start_soon(kept, logger, "noticing that the machine slept", watch)
            if cluster is not None:
                nursery.start_soon(cluster.run, fleet.reopen)
                nursery.start_soon(self.others.run, fleet.reopen)
            await self._loop.plan_once(fleet)
            gc.freeze()  # what is there by now is code and stays: looking through it stops every forward for 30 ms
            if door is not None:
                nursery.start_soon(kept, logger, "the gateway", partial(door.serve, fleet))
            if self._status is not None:
                nursery.start_soon(kept, logger, "the status address", partial(self._status.serve, self.board))
            if end_when_hopeless:
                nursery.start_soon(self._loop.run, fleet)
                await self._until_hopeless(self._loop)
                self.failed = True
            else:
                await self._loop.run(fleet)
            with trio.move_on_after(LAST_LINES):
                await self.board.drained()  # why it failed, before it has stopped
            nursery.cancel_scope.cancel()

    async def _until_hopeless(self, loop: Loop) -> None:
        changes = self.board.subscribe()
        try:
            while not loop.hopeless:
                await changes.next()
        finally:
            self.board.unsubscribe(changes)

    def _want(self, watches: frozenset[Watch]) -> None:
        if self._cluster is not None:
            self._cluster.watches.want(frozenset(watch for watch in watches if not watch.cluster))
        self.others.want(watches)

    async def _show(self, scope: trio.CancelScope) -> None:
        with scope:
            await self._outputs.run(self.board)


def _after_sleep(*checks: Callable[[], None]) -> None:
    logger.info("this process did not run for a while: every session and watch is checked")
    for check in checks:
        check()


async def _no_session(pod: PodRef) -> NoReturn:
    raise TransportError(f"there is no cluster to reach pod {pod.name} in")


def _nothing() -> None:
    """Without a cluster nothing can be lost."""
