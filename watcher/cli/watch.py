"""Owns `portside watch`: beside a Skaffold that somebody else starts, before or after us."""

from __future__ import annotations

import os
from typing import Any

import click

from watcher.cli import logs
from watcher.cli.options import Options, collect, shared

EPILOG = """\b
Examples:
  skaffold dev --port-forward=off --rpc-http-port 50052
  portside watch --skaffold http://127.0.0.1:50052

Without --port-forward, user and services are forwarded.
"""


@click.command(name="watch", epilog=EPILOG)
@click.option(
    "--skaffold",
    "url",
    envvar="SKAFFOLD_RPC_HTTP_PORT",
    show_envvar=True,
    metavar="URL",
    default="",
    help="Skaffold's event API: http://127.0.0.1:PORT, or just the port.",
)
@shared
def command(url: str, **given: Any) -> int:
    """Attach to a Skaffold that already runs, or will."""
    import trio

    options = collect(given)
    logs.set_up(options.verbose)
    return trio.run(_run, url, options)


async def _run(url: str, options: Options) -> int:
    from watcher.cli.beside import Beside, project_of
    from watcher.cli.host import until_signal
    from watcher.errors import UsageError
    from watcher.skaffold import modes

    if not url:
        raise UsageError(
            "which Skaffold? give --skaffold URL or set SKAFFOLD_RPC_HTTP_PORT (skaffold dev --rpc-http-port)"
        )
    asked = options.port_forward
    wanted = modes.parse(asked, "watch") if asked else modes.default("watch")
    beside = await Beside.prepare(
        "watch", options, url, wanted, project_of(options, "dev"), os.environ, explicit_modes=bool(asked)
    )
    await until_signal(beside.run)
    return 0
