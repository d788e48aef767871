"""Owns `portside forward`: targets from the command line, kubectl's syntax and habits, no Skaffold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.cli import logs
from watcher.cli.options import Options, collect, shared
from watcher.cli.surroundings import check_descriptors

if TYPE_CHECKING:
    from watcher.cluster.client import Client
    from watcher.cluster.objects import Resource
    from watcher.config.entries import Entry

EPILOG = """\b
Examples:
  portside forward svc/web 8080:80              local 8080, or fail
  portside forward deploy/api :http svc/db 5432
  portside forward web-6c7d 8080 --address 0.0.0.0
  portside forward svc/web :8080 --exec 'curl "$WEB_8080_URL"'

\b
PORT alone is a preference (another is chosen where it is taken, and said; for a
port by name its number), LOCAL:PORT a demand; :PORT leaves the local port to the system. Connections wait
while no pod can serve them; the forward outlives the pods.
"""


@click.command(name="forward", epilog=EPILOG)
@click.argument("targets", nargs=-1, required=True, metavar="TYPE/NAME [LOCAL:]PORT ...")
@shared
def command(targets: tuple[str, ...], **given: Any) -> int:
    """Forward now, like kubectl port-forward, for several targets at once and for good."""
    import trio

    options = collect(given)
    logs.set_up(options.verbose)
    check_descriptors()
    return trio.run(_run, targets, options)


async def _run(targets: tuple[str, ...], options: Options) -> int:
    from msgspec.structs import replace

    from watcher.cli.asked import NOTHING, base_facts
    from watcher.cli.gateway import Door, wished
    from watcher.cli.host import Host
    from watcher.cli.until import served
    from watcher.cluster.client import Client
    from watcher.cluster.credentials import load
    from watcher.config.targets import parse_targets
    from watcher.plan.facts import Facts

    facts = base_facts(options)
    parse_targets(targets, namespace="default", addresses=facts.addresses)  # words first: they cost nothing
    cluster = await load(options.kubeconfig or None, options.kube_context or None)
    namespace = options.namespace or cluster.namespace or "default"
    entries = parse_targets(targets, namespace=namespace, addresses=facts.addresses)
    facts = replace(facts, entries=entries, namespace=namespace)
    door = await Door.opened(wished(options.gateway, NOTHING))
    host = Host("forward", options, door, context=cluster.title, namespace=namespace)

    def gather() -> Facts:
        return replace(facts, cluster=host.snapshot)

    async def serve() -> None:
        async with Client(cluster.server) as client:
            nonlocal facts
            facts = replace(facts, entries=await _looked_up(client, entries))
            await host.run(client, gather, cluster=cluster, end_when_failed=True)

    return await served(host, serve)


async def _looked_up(client: Client, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The entries; those that name a port ask for its number. Raises ApiError naming what does not exist, as kubectl.

    An API server that does not answer is waited for later, and that is reported.
    """
    from watcher.cluster.errors import ApiError, UnreachableError
    from watcher.cluster.kinds import BY_NAME

    found: dict[tuple[str, str, str], Resource] = {}
    for kind, name, namespace in dict.fromkeys((e.kind, e.name, e.namespace) for e in entries):
        try:
            found[kind, name, namespace] = await client.get(BY_NAME[kind], namespace, name)
        except UnreachableError:
            break
        except ApiError as error:
            if error.code == 404:
                raise
    return tuple(_numbered(entry, found.get((entry.kind, entry.name, entry.namespace))) for entry in entries)


def _numbered(entry: Entry, target: Resource | None) -> Entry:
    from msgspec.structs import replace

    from forwarders.spec import Ask, PortWish
    from watcher.plan.ports import asked_number

    number = asked_number(target, entry.port) if entry.wish.ask is Ask.AUTOMATIC else None
    return entry if number is None else replace(entry, wish=PortWish(Ask.PREFERRED, number))
