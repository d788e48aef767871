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

from forwarders import descriptors
from forwarders.awake import watch_sleep
from forwarders.bulkhead import kept
from forwarders.fleet import Fleet
from forwarders.gates import TURN, Gate
from forwarders.pool import Open
from forwarders.spec import PodRef
from forwarders.transports import names
from forwarders.transports.errors import TransportError
from forwarders.transports.opener import Opener
from forwarders.transports.server import ApiServer
from watcher.board.about import About, current_folder
from watcher.board.board import Board
from watcher.cli.gateway import Door
from watcher.cli.options import Options
from watcher.cli.outputs import Outputs
from watcher.cli.serving import StatusAddress
from watcher.cli.user_command import UserCommand
from watcher.cluster.client import Client
from watcher.cluster.credentials import ClusterConfig
from watcher.cluster.following import follow
from watcher.cluster.store import Snapshot, Watch
from watcher.cluster.watches import Watches
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
        self._outputs = Outputs(command, options)
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
        self._watches: Watches | None = None
        self._loop: Loop | None = None
        self.failed = False  # no forward had a port, and that was the end

    @property
    def user_command(self) -> UserCommand | None:
        """The command of --exec, which the caller runs beside `run`."""
        return self._outputs.user_command

    @property
    def snapshot(self) -> Snapshot:
        """What is known of the cluster."""
        return self._watches.snapshot if self._watches else Snapshot()

    def touch(self) -> None:
        """The facts changed."""
        if self._loop is not None:
            self._loop.touch()

    async def run(
        self,
        client: Client | None,
        gather: Callable[[], Facts],
        *,
        cluster: ClusterConfig | None = None,
        end_when_failed: bool = False,
    ) -> None:
        """Forwards what the plan of `gather()` says, in the cluster of `client` or without; closes the status socket.

        `cluster`: the kubeconfig that `client` is made of, followed while this runs.

        `end_when_failed`: return once the first plan stands and none of its forwards has a port.
        """
        descriptors.raise_limit()
        with contextlib.ExitStack() as stack:
            if self._status is not None:
                stack.enter_context(self._status.announced(self._about))
            async with trio.open_nursery() as nursery:
                # Shielded: what the end itself has to say still goes out.
                outputs = trio.CancelScope(shield=True)
                nursery.start_soon(self._show, outputs)
                try:
                    await self._forward(client, gather, cluster, end_when_failed=end_when_failed)
                finally:
                    self.board.close()
                    outputs.deadline = trio.current_time() + LAST_LINES

    async def _forward(
        self,
        client: Client | None,
        gather: Callable[[], Facts],
        cluster: ClusterConfig | None,
        *,
        end_when_failed: bool,
    ) -> None:
        async with trio.open_nursery() as nursery:
            want: Callable[[frozenset[Watch]], None] = _nothing
            open_session: Open = _no_session
            gate = Gate(TURN)
            check: Callable[[], None] = _no_check
            if client is not None:
                self._watches = Watches(client, self.touch, Random(), gate=gate)
                check = self._watches.check
                opener = Opener(client.server)
                want, open_session = self._watches.want, opener.open
                nursery.start_soon(self._watches.run)
            door = self._gateway
            self._loop = Loop(gather, want, self.board, door.names if door else None)
            fleet = Fleet(open_session, Random(), self._loop.report, gate=gate, on_silence=check)
            self.board.counters, self.board.sessions = fleet.counters, fleet.sessions
            await nursery.start(fleet.run)
            watch = partial(watch_sleep, partial(_after_sleep, fleet.check, check))
            nursery.start_soon(kept, logger, "noticing that the machine slept", watch)
            if client is not None and cluster is not None:
                move = partial(_move, client, opener, self._watches, fleet)
                nursery.start_soon(kept, logger, "following the kubeconfig", partial(follow, cluster, move))
            await self._loop.plan_once(fleet)
            gc.freeze()  # what is there by now is code and stays: looking through it stops every forward for 30 ms
            if door is not None:
                nursery.start_soon(kept, logger, "the gateway", partial(door.serve, fleet))
            if self._status is not None:
                nursery.start_soon(kept, logger, "the status address", partial(self._status.serve, self.board))
            self.failed = end_when_failed and self._loop.failed
            if not self.failed:
                await self._loop.run(fleet)
            with trio.move_on_after(LAST_LINES):
                await self.board.handed_out()  # why it failed, before it has stopped
            nursery.cancel_scope.cancel()

    async def _show(self, scope: trio.CancelScope) -> None:
        with scope:
            await self._outputs.run(self.board)


async def _move(client: Client, opener: Opener, watches: Watches | None, fleet: Fleet, server: ApiServer) -> None:
    """Everything goes to this server from now on; listeners and open connections stay."""
    opener.move(server)
    await client.move(server)
    if watches is not None:
        watches.restart()
    fleet.reopen()


def _after_sleep(*checks: Callable[[], None]) -> None:
    logger.info("this process did not run for a while: every session and watch is checked")
    for check in checks:
        check()


def _no_check() -> None:
    """Without a cluster nothing can be lost."""


def _nothing(_: frozenset[Watch]) -> None:
    """Without a cluster nothing is watched in one."""


async def _no_session(pod: PodRef) -> NoReturn:
    raise TransportError(f"there is no cluster to reach pod {pod.name} in")
