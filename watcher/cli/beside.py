"""Owns what `watch` and `run` share: forwarding beside a Skaffold whose events are followed.

Refuses to start Skaffold, and to outlive its own cancellation by more than the polite leave of Skaffold's stream.
"""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Self

import trio
from msgspec.structs import replace

from forwarders.backoff import Backoff
from forwarders.tasks import kept
from watcher.board.board import Board
from watcher.board.records import ForwardRecord, SkaffoldRecord, own_forward_record, timestamp
from watcher.cli.configured import Configured
from watcher.cli.gateway import Door
from watcher.cli.host import Host
from watcher.cli.options import Options
from watcher.cluster.cluster_config import ClusterConfig, load_cluster_config
from watcher.cluster.clusters import ClusterConnection
from watcher.config.entries import CONTAINER
from watcher.docker.containers import ContainerWatch
from watcher.docker.daemon import Daemon, daemon_of
from watcher.plan.facts import Facts, OwnForward
from watcher.skaffold.attachment import Attachment
from watcher.skaffold.modes import Mode
from watcher.skaffold.port_events import PAUSES, Occasion, PostedForward, Publisher, SkaffoldForwards, moved
from watcher.skaffold.state import SkaffoldFacts, change_kinds
from watcher.user_files import home_folder

logger = logging.getLogger("portside")

# Seconds in which a Skaffold that is there has told what it forwards itself; before that we bind nothing it may hold.
FIRST_WORD = 2.0


class Beside:
    """One portside beside one Skaffold. `prepare` finds every mistake before anything is bound."""

    def __init__(
        self, host: Host, place: ClusterConfig | Daemon, configured: Configured, url: str, *, publish: bool
    ) -> None:
        self.host = host
        self._cluster = place if isinstance(place, ClusterConfig) else None
        self._docker = ContainerWatch(place, host.touch, Random()) if isinstance(place, Daemon) else None
        self._configured = configured
        self._attachment = Attachment(url, self._on_skaffold, Random())
        pauses = Backoff(Random(), *PAUSES)
        self._is_child = host.command == "run"
        self._publisher = (
            Publisher(url, lambda: self._attachment.facts.occasion, self._forwarded, pauses) if publish else None
        )
        self._warned = False
        self._heard = trio.Event()

    @classmethod
    async def prepare(cls, command: str, options: Options, url: str, configured: Configured) -> Self:
        """`command` is portside's. Raises UsageError."""
        place: ClusterConfig | Daemon
        if configured.docker:
            place = daemon_of(os.environ, home_folder())
        else:
            place = await load_cluster_config(options.kubeconfig or None, configured.kube_context or None)
        # Of what Docker publishes Skaffold tells itself.
        publish = options.publish and not configured.docker
        door = await Door.opened(configured.gateway)
        context = namespace = ""
        if isinstance(place, ClusterConfig):
            context, namespace = place.title, options.namespace or place.namespace or "default"
        host = Host(command, options, door, context=context, namespace=namespace)
        return cls(host, place, configured, url, publish=publish)

    async def run(self) -> None:
        """Forwards until cancelled: the ports are free at once then, the stream is left politely."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept, logger, "reading Skaffold's events", self._attachment.run)
            follow = partial(self._configured.run, self.host.touch)
            nursery.start_soon(kept, logger, "following the configuration", follow)
            if self._docker is not None:
                nursery.start_soon(kept, logger, "watching Docker's containers", self._docker.run)
            if self._publisher is not None:
                publish = partial(self._publish, self._publisher)
                nursery.start_soon(kept, logger, "telling Skaffold of the forwards", publish)
            with trio.move_on_after(FIRST_WORD):
                await self._heard.wait()
            async with ClusterConnection(self._cluster, self.host.touch) if self._cluster else nullcontext() as cluster:
                await self.host.run(cluster, self._gather)

    @property
    def forwards(self) -> bool:
        """Whether any mode is on: what was deployed is worth staying for."""
        return bool(self._configured.facts.modes)

    def _gather(self) -> Facts:
        skaffold = self._attachment.facts
        own = tuple(
            OwnForward(
                kind=kind,
                name=name,
                namespace=namespace,
                port=port,
                local_port=forward.local_port,
                address=forward.address,
            )
            for (kind, name, namespace, port), forward in self._own(skaffold).items()
        )
        facts = self.host.located(self._configured.facts)
        return replace(
            facts,
            artifacts=skaffold.artifacts or facts.artifacts,
            containers=self._docker.snapshot if self._docker else None,
            run_id=skaffold.run_id,
            former_run_ids=skaffold.former_run_ids,
            namespaces=skaffold.namespaces,
            own_forwards=own,
            deployed=skaffold.deployed,
        )

    async def _publish(self, publisher: Publisher) -> None:
        """Whenever the board changes, which it does with Skaffold's every word too."""
        changes = self.host.board.subscribe()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.run)
            while True:
                try:
                    await changes.next()
                except trio.EndOfChannel:
                    return
                publisher.touch()

    def _occasion(self) -> Occasion | None:
        return self._attachment.facts.occasion

    def _forwarded(self) -> list[PostedForward]:
        return forwarded(self.host.board)

    def _on_skaffold(self, before: SkaffoldFacts, now: SkaffoldFacts) -> None:
        self._heard.set()
        self._publish_own(self._own(before), self._own(now))
        for change in change_kinds(before, now):
            self.host.board.publish(
                SkaffoldRecord(
                    time=timestamp(datetime.now(UTC)),
                    change=change,
                    attached=now.attached,
                    phase=now.phase,
                    iteration=now.iteration,
                    run_id=now.run_id,
                    failed=now.failed,
                    reason=now.problem,
                )
            )
        self.host.touch()

    def _own(self, skaffold: SkaffoldFacts) -> SkaffoldForwards:
        """What Skaffold itself forwards.

        Of containers Docker knows better: Skaffold announces ports that nobody publishes. The Skaffold of `run` is told
        to forward nothing else, so any other event that says so was posted by somebody else.
        """
        if self._docker is not None:
            return {}
        own = skaffold.own_forwards
        return {key: one for key, one in own.items() if one.resource_type == CONTAINER} if self._is_child else own

    def _publish_own(self, before: SkaffoldForwards, now: SkaffoldForwards) -> None:
        """Skaffold's own forwards are shown as its own; nothing here binds their ports."""
        if now and not self._warned:
            self._warned = True
            logger.warning("this Skaffold forwards ports itself; start it with --port-forward=off to have them held")
        time = datetime.now(UTC)
        for own in moved(before, now):
            self.host.board.publish(own_forward_record(own, time, over=True))
        for own in moved(now, before):
            self.host.board.publish(own_forward_record(own, time))


def forwarded(board: Board) -> list[PostedForward]:
    """What Skaffold is told: every forward that is ready and not Skaffold's own."""
    ours = (record for record in board.forwards.values() if record.source != "skaffold")
    return [told_of(record) for record in ours if record.state == "ready"]


def told_of(record: ForwardRecord) -> PostedForward:
    """In modes pods and debug Skaffold forwards a pod, not its owner, and says which port of it."""
    of_pod = record.source in {Mode.PODS.value, Mode.DEBUG.value} and record.pod
    return PostedForward(
        resource_type="pod" if of_pod else record.resource_type,
        resource_name=record.pod if of_pod else record.resource_name,
        namespace=record.namespace,
        container=record.container,
        pod=record.pod if of_pod else "",
        port_name=record.port_name,
        target_port=record.remote_port,
        address=record.local_address,
        local_port=record.local_port,
    )
