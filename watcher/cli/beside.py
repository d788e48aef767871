"""Owns what `watch` and `run` share: forwarding beside a Skaffold whose events are followed.

Refuses to start Skaffold, and to outlive its own cancellation by more than the polite leave of Skaffold's stream.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Self

import trio
from msgspec.structs import replace

from watcher.board.records import Change, SkaffoldRecord, own_forward_record, timestamp
from watcher.cli.asked import base_facts, supported
from watcher.cli.host import Host
from watcher.cli.options import Options
from watcher.cluster.credentials import ClusterConfig, load
from watcher.config.skaffold_yaml import DEFAULT_FILE, Configuration, Project
from watcher.config.skaffold_yaml import load as load_project
from watcher.plan.facts import Facts, OwnForward
from watcher.skaffold.attachment import Attachment
from watcher.skaffold.modes import Mode
from watcher.skaffold.own_forwards import OwnForward as SkaffoldForward
from watcher.skaffold.own_forwards import OwnForwards
from watcher.skaffold.state import SkaffoldFacts

logger = logging.getLogger("portside")

# Seconds in which a Skaffold that is there has told what it forwards itself; before that we bind nothing it may hold.
FIRST_WORD = 2.0


def project_of(options: Options, command: str, binary: str = "skaffold") -> Project | None:
    """The project that the options mean; None where there is no skaffold.yaml and none was named."""
    if not options.filename and not Path(DEFAULT_FILE).exists():
        return None
    return Project(
        filename=options.filename[-1] if options.filename else DEFAULT_FILE,
        profiles=options.profile,
        modules=options.module,
        binary=binary,
        command=command,
    )


class Beside:
    """One portside beside one Skaffold. `prepare` finds every mistake before anything is bound."""

    def __init__(
        self, host: Host, cluster: ClusterConfig, facts: Facts, configuration: Configuration, url: str
    ) -> None:
        self.host = host
        self._cluster = cluster
        self._base = replace(facts, entries=configuration.entries, bad_entries=configuration.bad)
        self._attachment = Attachment(url, self._on_skaffold, Random())
        self._seen = SkaffoldFacts()
        # Both outlive a Skaffold that is started again: what the last one deployed counts until the next one has. One
        # more id for each reload of skaffold.yaml, some 40 bytes.
        self._former_run_ids: frozenset[str] = frozenset()
        self._namespaces: frozenset[str] = frozenset()
        self._warned = False
        self._heard = trio.Event()

    @classmethod
    async def prepare(
        cls,
        command: str,
        options: Options,
        url: str,
        modes: frozenset[Mode],
        project: Project | None,
        environ: Mapping[str, str],
        *,
        explicit_modes: bool,
    ) -> Self:
        """Raises UsageError."""
        facts = replace(base_facts(options), modes=supported(modes, explicit=explicit_modes))
        cluster = await load(options.kubeconfig or None, options.kube_context or None)
        facts = replace(facts, context_namespace=cluster.namespace)
        configuration = Configuration()
        if project is not None and Mode.USER in facts.modes:
            configuration = await load_project(project, environ)
        return cls(Host(command, options), cluster, facts, configuration, url)

    async def run(self) -> None:
        """Forwards until cancelled: the ports are free at once then, the stream is left politely."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._attachment.run)
            with trio.move_on_after(FIRST_WORD):
                await self._heard.wait()
            await self.host.run(self._cluster, self._gather)

    @property
    def skaffold(self) -> SkaffoldFacts:
        return self._attachment.facts

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
            for (kind, name, namespace, port), forward in skaffold.own_forwards.items()
        )
        return replace(
            self._base,
            cluster=self.host.snapshot,
            run_id=skaffold.run_id,
            former_run_ids=self._former_run_ids,
            namespaces=self._namespaces,
            own_forwards=own,
            deployed=skaffold.deployed,
        )

    def _on_skaffold(self) -> None:
        now, before, self._seen = self._attachment.facts, self._seen, self._attachment.facts
        self._heard.set()
        if now.run_id != before.run_id:
            self._former_run_ids |= {before.run_id} - {""}
        self._namespaces |= now.namespaces
        if now.own_forwards and not self._warned:
            self._warned = True
            logger.warning("this Skaffold forwards ports itself; start it with --port-forward=off to have them held")
        self._publish_own(before.own_forwards, now.own_forwards)
        for change in _changes(before, now):
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

    def _publish_own(self, before: OwnForwards, now: OwnForwards) -> None:
        """Skaffold's own forwards are shown as its own; nothing here binds their ports."""
        time = datetime.now(UTC)
        for own in before.values():
            if own.key not in now or _place(now[own.key]) != _place(own):
                self.host.board.publish(own_forward_record(own, time, over=True))
        for own in now.values():
            if own.key not in before or _place(before[own.key]) != _place(own):
                self.host.board.publish(own_forward_record(own, time))


def _place(own: SkaffoldForward) -> tuple[str, int]:
    return own.address, own.local_port


def _changes(before: SkaffoldFacts, now: SkaffoldFacts) -> list[Change]:
    changes: list[Change] = []
    if now.attached != before.attached:
        changes.append("attached" if now.attached else "lost")
    if now.run_id != before.run_id:
        changes.append("run")
    if (now.phase, now.iteration, now.failed) != (before.phase, before.iteration, before.failed):
        changes.append("phase")
    return changes
