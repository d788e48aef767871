"""The command `portside forward`: targets from the command line, with kubectl's syntax and habits, no Skaffold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.cli import logs
from watcher.cli.contexts_among_targets import OPTION, ContextsAmongTargets
from watcher.cli.options import Options, collect, without_project
from watcher.cli.surroundings import check_descriptors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from watcher.cluster.cluster_config import ClusterConfig
    from watcher.config.entries import Entry

EPILOG = """\b
Examples:
  portside forward svc/web 8080:80              local 8080, or fail
  portside forward deploy/api :http svc/db 5432
  portside forward web-6c7d 8080 --address 0.0.0.0
  portside forward svc/web :8080 --exec 'curl "$WEB_8080_URL"'
  portside forward --context staging svc/web 8080 --context prod svc/web 9080:8080

\b
PORT alone is a preference (another is chosen where it is taken, and said; for a
port by name its number), LOCAL:PORT a demand; :PORT leaves the local port to the
system. Connections wait while no pod can serve them; the forward outlives the
pods.

\b
Exit codes:
  0  ended by a signal, or by --exec with its command's code
  1  nothing that was asked for can ever work: no such object or port, UDP only,
     no permission, the demanded local port is taken. What has worked once is
     waited for: a deleted object may be made again.
  2  wrong usage
"""


@click.command(name="forward", cls=ContextsAmongTargets, epilog=EPILOG)
@click.argument("targets", nargs=-1, required=True, metavar="TYPE/NAME [LOCAL:]PORT ...")
@click.option(
    OPTION,
    metavar="CONTEXT",
    expose_value=False,
    help="The kube-context of the targets after it; repeatable. Before the first: --kube-context.",
)
@without_project
def command(targets: tuple[str, ...], **given: Any) -> int:
    """Forward now, like kubectl port-forward, for several targets at once and for good."""
    import trio

    options = collect(given)
    logs.set_up(options.verbose)
    check_descriptors()
    return trio.run(_run, targets, options)


async def _run(targets: tuple[str, ...], options: Options) -> int:
    from contextlib import AsyncExitStack

    from msgspec.structs import replace

    from watcher.cli.asked import NOTHING, base_facts
    from watcher.cli.gateway import Door, wished
    from watcher.cli.host import Host
    from watcher.cli.lookup import looked_up
    from watcher.cli.until import served
    from watcher.cluster.clusters import ClusterConnection
    from watcher.config.targets import parse_targets

    facts = base_facts(options)
    asked = parse_targets(targets, namespace=options.namespace, addresses=facts.addresses)
    configs = await _loaded(asked, options)
    default, *others = {config.context: config for config in configs.values()}.values()
    entries = tuple(_placed(entry, configs, default.context) for entry in asked)
    namespace = options.namespace or default.namespace or "default"
    facts = replace(facts, namespace=namespace)
    door = await Door.opened(wished(options.gateway, NOTHING))
    host = Host("forward", options, door, context=default.title, namespace=namespace)

    async def serve() -> None:
        nonlocal facts
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(ClusterConnection(default, host.touch))
            clients = {"": cluster.client}
            for config in others:
                other = await stack.enter_async_context(ClusterConnection(config, host.touch))
                clients[config.context] = other.client
                host.others.add(config.context, other)
            facts = replace(facts, entries=await looked_up(clients, entries))
            await host.run(cluster, lambda: host.located(facts), end_when_hopeless=True)

    return await served(host, serve)


async def _loaded(entries: tuple[Entry, ...], options: Options) -> dict[str, ClusterConfig]:
    """The contexts of the entries as they are called there, the default one first. Raises KubeconfigError."""
    from watcher.cluster.cluster_config import load_cluster_config

    names = dict.fromkeys(entry.context for entry in entries)
    return {
        name: await load_cluster_config(options.kubeconfig or None, name or options.kube_context or None)
        for name in names
    }


def _placed(entry: Entry, configs: Mapping[str, ClusterConfig], default: str) -> Entry:
    """The entry with its namespace, and "" for the default context, however that was named."""
    from msgspec.structs import replace

    config = configs[entry.context]
    context = "" if config.context == default else config.context
    return replace(entry, namespace=entry.namespace or config.namespace or "default", context=context)
