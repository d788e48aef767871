"""Runs `watch --cluster`, which forwards labelled objects, and `forward`, which forwards named ones."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import NamedTuple

import trio
from msgspec.structs import replace

from forwarders import HOLD
from forwarders.early_ports import close_early
from forwarders.spec import PortPolicy, PortRequest
from watcher.cli.collected import Options
from watcher.cli.facts_from_options import ConfiguredFacts, base_facts, gateway_request, project_of, with_open_path
from watcher.cli.lifecycle import run_to_end
from watcher.cli.option_values import environment
from watcher.cli.runtime import GatewayServer, Runtime
from watcher.cluster.api_client import ApiClient
from watcher.cluster.cluster_config import ClusterConfig, load_cluster_config
from watcher.cluster.clusters import ClusterConnection
from watcher.cluster.kinds import BY_NAME, Resource
from watcher.cluster.reflector import call_if_slow
from watcher.cluster.store import Watch
from watcher.config.entries import Entry
from watcher.config.targets import parse_targets
from watcher.errors import ApiError, ApiUnreachableError, ClusterError, did_you_mean
from watcher.plan.facts import Facts
from watcher.plan.ports import asked_number
from watcher.plan.required_watches import required_watches

logger = logging.getLogger("portside")

# Seconds to wait for an API server at the start. After that the forwards are bound and report what is missing.
PATIENCE = 5.0
# Seconds until the user is told what portside waits for.
SLOW = 1.5
# Seconds for the list of names in which the right spelling of a name is looked for.
LISTED_WITHIN = 2.0

_Key = tuple[str, str, str, str]


class Selection(NamedTuple):
    """The objects to forward: of the run `run_id`, or with labels of `selector`, else all that a Skaffold labelled.

    `namespaces`: where to find them; () for the context's, None for all.
    """

    run_id: str
    selector: str
    namespaces: tuple[str, ...] | None


async def watch_cluster(selection: Selection, options: Options) -> int:
    """Forwards the selected objects until a signal; returns the exit code. Raises UsageError before it binds a port.

    It waits for no deploy: an object that does not exist is reported as missing until it does.
    """
    configured = await ConfiguredFacts.load(options, "watch", project_of(options, "dev"), environment())
    config = await load_cluster_config(options.kubeconfig or None, configured.kube_context or None)
    names = () if selection.namespaces is None else selection.namespaces or (config.namespace or "default",)
    gateway = await GatewayServer.bind(configured.gateway)
    runtime = Runtime("watch", options, gateway, context=config.title, namespace=", ".join(names))

    def gather() -> Facts:
        return replace(
            runtime.with_clusters(configured.facts),
            run_id=selection.run_id,
            selector=selection.selector,
            any_run=not selection.run_id,
            namespaces=frozenset(names),
            within=frozenset(names),
        )

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(configured.run, runtime.touch)
            async with ClusterConnection(config, runtime.touch) as cluster:
                await runtime.run(cluster, gather)

    return await run_to_end(serve, runtime)


async def forward_targets(targets: tuple[str, ...], options: Options) -> int:
    """Forwards the targets of `portside forward`; returns the exit code. Raises UsageError and ClusterError."""
    facts = base_facts(options)
    wanted = parse_targets(targets, namespace=options.namespace, addresses=facts.addresses)
    # A login may take longer than a connection may wait.
    hold = HOLD if options.hold is None else options.hold
    configs = await call_if_slow(hold, close_early, partial(_configs, wanted, options))
    default, *others = {config.context: config for config in configs.values()}.values()
    entries = tuple(_placed(entry, configs, default.context) for entry in wanted)
    entries = with_open_path(entries) if options.open else entries
    namespace = options.namespace or default.namespace or "default"
    facts = replace(facts, namespace=namespace)
    gateway = await GatewayServer.bind(gateway_request(options.gateway))
    runtime = Runtime("forward", options, gateway, context=default.title, namespace=namespace)

    async def serve() -> None:
        nonlocal facts
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(ClusterConnection(default, runtime.touch))
            clients = {"": cluster.client}
            for config in others:
                other = await stack.enter_async_context(ClusterConnection(config, runtime.touch))
                clients[config.context] = other.client
                runtime.others.connected[config.context] = other
            # The lists that the plan will need are requested together with the targets.
            own = tuple(entry for entry in entries if not entry.context)
            cluster.watches.want(required_watches(replace(facts, entries=own)))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cluster.watches.run)
                facts = replace(facts, entries=await looked_up(clients, entries))
                await runtime.run(cluster, lambda: runtime.with_clusters(facts), end_when_hopeless=True)
                nursery.cancel_scope.cancel()

    return await run_to_end(serve, runtime)


async def _configs(entries: tuple[Entry, ...], options: Options) -> dict[str, ClusterConfig]:
    """Loads the configuration of each context that the entries name, the default first. Raises KubeconfigError."""
    names = dict.fromkeys(entry.context for entry in entries)
    kubeconfig = options.kubeconfig or None
    return {name: await load_cluster_config(kubeconfig, name or options.kube_context or None) for name in names}


def _placed(entry: Entry, configs: Mapping[str, ClusterConfig], default: str) -> Entry:
    """Fills in the entry's namespace, and replaces the name of the default context by ""."""
    config = configs[entry.context]
    context = "" if config.context == default else config.context
    return replace(entry, namespace=entry.namespace or config.namespace or "default", context=context)


async def looked_up(clients: Mapping[str, ApiClient], entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Looks the entries' objects up, as kubectl does. Replaces a port's name by its number for the local port.

    `clients`: by context. If only some of the objects exist, it reports the missing ones; if none exists, it raises
    their ApiErrors. It reports an API server that does not answer, and goes on.
    """
    found: dict[_Key, Resource] = {}
    missing: dict[_Key, ApiError] = {}

    async def look(context: str, client: ApiClient) -> None:
        own = [entry for entry in entries if entry.context == context]
        warn = partial(logger.warning, "%s has not answered yet; the targets are looked up there", client.server.url)
        with trio.move_on_after(PATIENCE):
            await call_if_slow(SLOW, warn, partial(_look_up, client, own, found, missing))

    async with trio.open_nursery() as nursery:
        for context, client in clients.items():
            nursery.start_soon(look, context, client)
    if missing and missing.keys() == set(map(_key, entries)):
        raise ExceptionGroup("none of the targets exists", [*missing.values()])
    for problem in missing.values():
        logger.warning("%s", problem)
    return tuple(_with_local_port(entry, found.get(_key(entry))) for entry in entries)


async def _look_up(
    client: ApiClient, entries: Iterable[Entry], found: dict[_Key, Resource], missing: dict[_Key, ApiError]
) -> None:
    """Requests each object once, and adds it to `found` or `missing`; to neither if this user may not read it."""
    for key in dict.fromkeys(map(_key, entries)):
        kind, name, namespace, _ = key
        try:
            found[key] = await client.get(BY_NAME[kind], namespace, name)
        except ApiUnreachableError:
            return
        except ApiError as error:
            if error.code == 404:
                hint = await _suggestion(client, kind, namespace, name)
                missing[key] = ApiError(f"{error}{hint}", error.code)


async def _suggestion(client: ApiClient, kind: str, namespace: str, name: str) -> str:
    """Lists the kind's objects and returns `; did you mean "X"?`; "" without a similar name, or if the list is late."""
    with trio.move_on_after(LISTED_WITHIN):
        try:
            listed = await client.list(Watch(BY_NAME[kind], namespace))
        except ClusterError:
            return ""
        return did_you_mean(name, [item.metadata.name for item in listed.objects])
    return ""


def _key(entry: Entry) -> _Key:
    return entry.kind, entry.name, entry.namespace, entry.context


def _with_local_port(entry: Entry, target: Resource | None) -> Entry:
    """Prefers the number of a port that was given by name as its local port."""
    number = asked_number(target, entry.port) if entry.local_port.policy is PortPolicy.AUTOMATIC else None
    return entry if number is None else replace(entry, local_port=PortRequest(PortPolicy.PREFERRED, number))
