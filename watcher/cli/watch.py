"""The command `portside watch`: forwards beside a Skaffold that was started elsewhere, or without any."""

from __future__ import annotations

from typing import Any, NamedTuple

import click

from watcher.cli import logs
from watcher.cli.options import (
    Options,
    beside_skaffold,
    collect,
    environment,
    event_api,
    refuse_idle,
    shared_in_several_namespaces,
)
from watcher.cli.surroundings import check_descriptors

EPILOG = """\b
Examples:
  skaffold dev --port-forward=off --rpc-http-port 50052
  portside watch --skaffold http://127.0.0.1:50052
  portside watch --cluster
  portside watch --cluster -n shop -n payments
  portside watch --cluster --selector app.kubernetes.io/part-of=shop

Without --port-forward, user and services are forwarded.
"""


@click.command(name="watch", epilog=EPILOG)
@event_api
@click.option("--cluster", is_flag=True, help="No Skaffold: forward what is labelled in the cluster.")
@click.option("--run-id", default="", help="With --cluster: what this run of Skaffold labelled. Default: any run.")
@click.option("--selector", "-l", default="", help="With --cluster: what has these labels, in kubectl's syntax.")
@click.option("--all-namespaces", "-A", is_flag=True, help="With --cluster: look for objects in all namespaces.")
@beside_skaffold
@shared_in_several_namespaces
def command(
    url: str,
    *,
    cluster: bool,
    run_id: str,
    selector: str,
    namespace: tuple[str, ...],
    all_namespaces: bool,
    **given: Any,
) -> int:
    """Attach to a Skaffold that already runs, or will."""
    import trio

    from watcher.config.entries import checked_namespace
    from watcher.errors import UsageError

    for name in namespace:
        checked_namespace(name, "--namespace")
    namespaces = tuple(dict.fromkeys(filter(None, namespace)))
    options = collect({**given, "namespace": namespaces[0] if len(namespaces) == 1 else ""})
    logs.set_up(options.verbose)
    check_descriptors()
    if cluster:
        refuse_idle(
            ("--skaffold", "url", "with --cluster, which is without any Skaffold", True),
            ("--publish", "publish", "with --cluster, which is without any Skaffold", True),
        )
        return trio.run(_alone, run_id, selector, _Where(namespaces, all_namespaces), options)
    if run_id or selector or all_namespaces:
        raise UsageError(
            "--run-id, --selector and --all-namespaces go with --cluster: beside a Skaffold its own run is what counts"
        )
    if len(namespaces) > 1:
        raise UsageError(f"-n {' -n '.join(namespaces)}: several namespaces go with --cluster")
    return trio.run(_beside, url, options)


async def _beside(url: str, options: Options) -> int:
    from watcher.cli.beside import Beside
    from watcher.cli.configured import Configured, project_of
    from watcher.cli.until import served
    from watcher.errors import UsageError

    if not url:
        raise UsageError(
            "which Skaffold? give --skaffold URL or set SKAFFOLD_RPC_HTTP_PORT (skaffold dev --rpc-http-port); "
            "without any: --cluster"
        )
    configured = await Configured.load(options, "watch", project_of(options, "dev"), environment())
    beside = await Beside.prepare("watch", options, url, configured)
    return await served(beside.host, beside.run)


class _Where(NamedTuple):
    """The namespaces that -n names, and whether -A asks for all of them."""

    named: tuple[str, ...]
    everywhere: bool


async def _alone(run_id: str, selector: str, where: _Where, options: Options) -> int:
    from watcher.cli.alone import Alone, Wanted
    from watcher.cli.configured import Configured, project_of
    from watcher.cli.until import served
    from watcher.config.selector import checked_selector

    if run_id and selector:
        raise click.UsageError("--run-id and --selector exclude each other")
    if where.named and where.everywhere:
        raise click.UsageError("--namespace and --all-namespaces exclude each other")
    selector = selector and checked_selector(selector, "--selector")
    configured = await Configured.load(options, "watch", project_of(options, "dev"), environment())
    wanted = Wanted(run_id, selector, None if where.everywhere else where.named)
    alone = await Alone.prepare(options, configured, wanted)
    return await served(alone.host, alone.run)
