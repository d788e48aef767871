"""Owns `portside watch`: beside a Skaffold that somebody else starts, before or after us; or without any."""

from __future__ import annotations

from typing import Any

import click

from watcher.cli import logs
from watcher.cli.options import Options, beside_skaffold, collect, environment, event_api, shared

EPILOG = """\b
Examples:
  skaffold dev --port-forward=off --rpc-http-port 50052
  portside watch --skaffold http://127.0.0.1:50052
  portside watch --cluster
  portside watch --cluster --selector app.kubernetes.io/part-of=shop

Without --port-forward, user and services are forwarded.
"""


@click.command(name="watch", epilog=EPILOG)
@event_api
@click.option("--cluster", is_flag=True, help="No Skaffold: forward what is labelled in the cluster.")
@click.option("--run-id", default="", help="With --cluster: what this run of Skaffold labelled. Default: any run.")
@click.option("--selector", "-l", default="", help="With --cluster: what has these labels, in kubectl's syntax.")
@beside_skaffold
@shared
def command(url: str, *, cluster: bool, run_id: str, selector: str, **given: Any) -> int:
    """Attach to a Skaffold that already runs, or will."""
    import trio

    from watcher.errors import UsageError

    options = collect(given)
    logs.set_up(options.verbose)
    if cluster:
        return trio.run(_alone, run_id, selector, options)
    if run_id or selector:
        raise UsageError("--run-id and --selector go with --cluster: beside a Skaffold its own run is what counts")
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


async def _alone(run_id: str, selector: str, options: Options) -> int:
    from watcher.cli.alone import Alone
    from watcher.cli.configured import Configured, project_of
    from watcher.cli.until import served
    from watcher.config.selector import checked_selector

    if run_id and selector:
        raise click.UsageError("--run-id and --selector exclude each other")
    selector = selector and checked_selector(selector, "--selector")
    configured = await Configured.load(options, "watch", project_of(options, "dev"), environment())
    alone = await Alone.prepare(options, configured, run_id=run_id, selector=selector)
    return await served(alone.host, alone.run)
