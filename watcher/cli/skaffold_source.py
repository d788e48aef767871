"""Runs `watch`, which follows the events of a running Skaffold, and `run`, which starts Skaffold as a child."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Self

import trio
from msgspec.structs import replace

from forwarders.backoff import Backoff
from forwarders.system.processes import send_signal, send_signal_to_tree
from forwarders.tasks import kept, report
from watcher.board.board import Board
from watcher.board.records import ForwardRecord, own_forward_record, skaffold_record, timestamp
from watcher.cli.collected import Options
from watcher.cli.facts_from_options import ConfiguredFacts, options_for_run, project_of
from watcher.cli.lifecycle import ExecCommand, RepeatedSignal, run_to_end, until_signal
from watcher.cli.option_values import environment
from watcher.cli.runtime import GatewayServer, Runtime
from watcher.cluster.cluster_config import ClusterConfig, load_cluster_config
from watcher.cluster.clusters import ClusterConnection
from watcher.config.entries import CONTAINER
from watcher.docker.containers import ContainerWatch
from watcher.docker.daemon import Daemon, daemon_of
from watcher.errors import UsageError
from watcher.plan.facts import Facts
from watcher.plan.run import is_current
from watcher.skaffold import command_line
from watcher.skaffold.attachment import Attachment
from watcher.skaffold.http_request import ApiAddress, free_port
from watcher.skaffold.modes import Mode
from watcher.skaffold.port_events import PAUSES, PostedForward, Publisher, SkaffoldForwards, moved
from watcher.skaffold.process import SkaffoldProcess, check_found
from watcher.skaffold.state import SkaffoldFacts, change_kinds, deployed_again
from watcher.user_files import home_folder

logger = logging.getLogger("portside")

# Seconds in which a running Skaffold reports its own forwards. portside binds nothing before, so it takes no such port.
FIRST_FACTS = 2.0

WRAPPED = (
    "%s is not Skaffold: the Skaffold that it starts gets SKAFFOLD_PORT_FORWARD=off and SKAFFOLD_RPC_HTTP_PORT=%d, and "
    "must have no such options of its own; portside reads the project as `%s`, with the options before --"
)


class SkaffoldSource:
    """Forwards beside one Skaffold. `prepare` raises UsageError for every mistake before a port is bound."""

    def __init__(
        self, runtime: Runtime, place: ClusterConfig | Daemon, configured: ConfiguredFacts, url: str, *, publish: bool
    ) -> None:
        self.runtime = runtime
        self._cluster = place if isinstance(place, ClusterConfig) else None
        self._docker = ContainerWatch(place, runtime.touch, Random()) if isinstance(place, Daemon) else None
        self._configured = configured
        self._attachment = Attachment(url, self._on_skaffold, Random())
        self._is_child = runtime.command == "run"
        pauses = Backoff(Random(), *PAUSES)
        ready = partial(ready_forwards, runtime.board)
        self._publisher = Publisher(url, lambda: self._attachment.facts.occasion, ready, pauses) if publish else None
        self._warned = False
        self._relabelled = ""  # the run id whose objects are all known
        self._iteration_began = ""
        self._has_facts = trio.Event()

    @classmethod
    async def prepare(cls, command: str, options: Options, url: str, configured: ConfiguredFacts) -> Self:
        """Loads the kubeconfig, and binds the gateway. `command`: portside's, `run` or `watch`. Raises UsageError."""
        place: ClusterConfig | Daemon
        if configured.docker:
            place = daemon_of(os.environ, home_folder())
        else:
            place = await load_cluster_config(options.kubeconfig or None, configured.kube_context or None)
        # Skaffold itself reports the ports that Docker publishes.
        publish = options.publish and not configured.docker
        gateway = await GatewayServer.bind(configured.gateway)
        context = namespace = ""
        if isinstance(place, ClusterConfig):
            context, namespace = place.title, options.namespace or place.namespace or "default"
        runtime = Runtime(command, options, gateway, context=context, namespace=namespace, skaffold=url)
        return cls(runtime, place, configured, url, publish=publish)

    async def run(self) -> None:
        """Forwards until cancelled: then it frees the ports at once and leaves Skaffold's stream safely."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept, logger, "reading Skaffold's events", self._attachment.run)
            nursery.start_soon(self._configured.run, self.runtime.touch)
            if self._docker is not None:
                nursery.start_soon(kept, logger, "watching Docker's containers", self._docker.run)
            if self._publisher is not None:
                publish = partial(self._publish, self._publisher)
                nursery.start_soon(kept, logger, "telling Skaffold of the forwards", publish)
            with trio.move_on_after(FIRST_FACTS):
                await self._has_facts.wait()
            connection = ClusterConnection(self._cluster, self.runtime.touch) if self._cluster else nullcontext()
            async with connection as cluster:
                await self.runtime.run(cluster, self._gather)

    @property
    def has_modes(self) -> bool:
        """Whether any mode is on, so that the forwards are useful after Skaffold has ended."""
        return bool(self._configured.facts.modes)

    def _gather(self) -> Facts:
        skaffold = self._attachment.facts
        facts = self.runtime.with_clusters(self._configured.facts)
        facts = replace(
            facts,
            artifacts=skaffold.artifacts or facts.artifacts,
            containers=self._docker.snapshot if self._docker else None,
            run_id=skaffold.run_id,
            former_run_ids=skaffold.former_run_ids,
            namespaces=skaffold.namespaces,
            own_forwards=tuple(self._own(skaffold).values()),
            deployed=skaffold.deployed,
        )
        return facts if self._is_relabelling(facts) else replace(facts, former_run_ids=frozenset())

    def _is_relabelling(self, facts: Facts) -> bool:
        """Whether objects of the run may still have a former run id: until the first complete lists after a deploy."""
        if self._docker is not None or not facts.run_id:
            return True
        if self._relabelled != facts.run_id and facts.deployed and is_current(facts):
            self._relabelled = facts.run_id
        return self._relabelled != facts.run_id

    async def _publish(self, publisher: Publisher) -> None:
        """Reports the forwards to Skaffold after each change of the board, which includes all changes of Skaffold."""
        async with trio.open_nursery() as nursery, self.runtime.board.subscribe() as changes:
            nursery.start_soon(publisher.run)
            async for _ in changes:
                publisher.touch()

    def _on_skaffold(self, before: SkaffoldFacts, now: SkaffoldFacts) -> None:
        self._has_facts.set()
        if now.iteration_began != before.iteration_began:
            # Not later than now, if the clock of Skaffold's machine is ahead of ours.
            self._iteration_began = timestamp(min(now.iteration_began, datetime.now(UTC)))
        if deployed_again(before, now):
            self.runtime.refresh()
            if self._docker is not None:
                self._docker.refresh()
        self._publish_own(self._own(before), self._own(now))
        for change in change_kinds(before, now):
            self.runtime.board.publish(skaffold_record(change, now, datetime.now(UTC), self._iteration_began))
        self.runtime.touch()

    def _own(self, skaffold: SkaffoldFacts) -> SkaffoldForwards:
        """Returns the forwards that Skaffold itself holds.

        None with Docker, because Skaffold also reports container ports that are not published. Under `run` Skaffold is
        told to forward only containers, so another program posted any other event.
        """
        if self._docker is not None:
            return {}
        own = skaffold.own_forwards
        return {key: one for key, one in own.items() if one.resource_type == CONTAINER} if self._is_child else own

    def _publish_own(self, before: SkaffoldForwards, now: SkaffoldForwards) -> None:
        """Publishes Skaffold's own forwards to the board, marked as Skaffold's."""
        if now and not self._warned:
            self._warned = True
            logger.warning(
                "this Skaffold forwards ports itself; start it with --port-forward=off to let portside do it"
            )
        time = datetime.now(UTC)
        for own in moved(before, now):
            self.runtime.board.publish_end(own_forward_record(own, time).id, timestamp(time))
        for own in moved(now, before):
            self.runtime.board.publish(own_forward_record(own, time))


def ready_forwards(board: Board) -> list[PostedForward]:
    """Returns the forwards to report to Skaffold: those that are ready and not its own."""
    ours = (record for record in board.forwards.values() if record.source != "skaffold")
    return [reported_forward(record) for record in ours if record.state == "ready"]


def reported_forward(record: ForwardRecord) -> PostedForward:
    """Describes a forward as Skaffold would: in modes pods and debug by the pod and its port, not the pod's owner."""
    of_pod = record.source in {Mode.PODS.value, Mode.DEBUG.value} and record.pod
    return PostedForward(
        resource_type="pod" if of_pod else record.resource_type,
        resource_name=record.pod if of_pod else record.resource_name,
        namespace=record.namespace,
        container_name=record.container,
        pod_name=record.pod if of_pod else "",
        port_name=record.port_name,
        target_port=record.remote_port,
        address=record.local_address,
        local_port=record.local_port,
    )


async def watch_skaffold(url: str, options: Options) -> int:
    """Forwards beside the Skaffold at `url` until a signal; returns the exit code. Raises UsageError."""
    if not url:
        raise UsageError(
            "which Skaffold? give --skaffold URL or set SKAFFOLD_RPC_HTTP_PORT (skaffold dev --rpc-http-port); "
            "without Skaffold give --cluster"
        )
    configured = await ConfiguredFacts.load(options, "watch", project_of(options, "dev"), environment())
    source = await SkaffoldSource.prepare("watch", options, url, configured)
    return await run_to_end(source.run, source.runtime)


async def run_skaffold(words: tuple[str, ...], options: Options) -> int:
    """Starts Skaffold, or a program that starts it, and forwards beside it. Returns the exit code."""
    environ = environment()
    command = command_line.read_command(words, environ)
    options = options_for_run(options, command)
    project = project_of(options, command.command, command.binary, command.profile_flags)
    configured = await ConfiguredFacts.load(options, command.command, project, environ)
    check_found(words[0], environ.get("PATH"))
    port = command.rpc_http_port or free_port()
    source = await SkaffoldSource.prepare("run", options, ApiAddress("127.0.0.1", port).url, configured)
    # With --output json, stdout is for JSON only, so Skaffold prints on stderr.
    stdout = sys.stderr.fileno() if options.output == "json" else None
    exec_command = source.runtime.exec_command
    pass_on = exec_command.send_signal if exec_command else None
    child = command_line.child_environment(command, port, environ)
    send = send_signal if command.line else send_signal_to_tree
    if command.line is None:
        logger.warning(WRAPPED, words[0], port, command.reads_as)
    signals = RepeatedSignal()
    process = SkaffoldProcess(command_line.rewritten(command, port), child, stdout, pass_on, signals.received, send)
    return await _run_both(process, source, command.command)


def stays_after(command: str, code: int, *, has_modes: bool) -> bool:
    """Whether portside stays after Skaffold ended by itself: what `run` and `deploy` deployed still runs."""
    return command in {"run", "deploy"} and not code and has_modes


async def _run_both(process: SkaffoldProcess, source: SkaffoldSource, command: str) -> int:
    """Runs Skaffold and forwards until both end; returns Skaffold's exit code, or that of --exec, which ends Skaffold.

    The ports are free as soon as Skaffold is told to end.
    """

    async def forward() -> None:
        # A bug of portside must not end Skaffold, which has the terminal and the user's work.
        try:
            with scope:
                await source.run()
        except Exception as error:  # noqa: BLE001 - as above
            report(logger, "portside failed and has stopped forwarding; Skaffold continues", error)

    async def stop_forwarding() -> None:
        await process.ending.wait()
        scope.cancel()

    exec_code: int | None = None

    async def execute(exec_command: ExecCommand) -> None:
        nonlocal exec_code
        exec_code = await exec_command.run(source.runtime.board)
        process.end()

    scope = trio.CancelScope()
    exec_command = source.runtime.exec_command
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_forwarding)
        nursery.start_soon(forward)
        if exec_command is not None:
            nursery.start_soon(execute, exec_command)
        code = await process.run()
        stays = stays_after(command, code, has_modes=source.has_modes) and not process.ending.is_set()
        if exec_command is not None and (stays or exec_command.running):
            await until_signal(exec_command.done.wait, exec_command)
        elif stays:
            await until_signal(trio.sleep_forever)
        nursery.cancel_scope.cancel()
    return code if exec_code is None else exec_code
