"""Owns `portside status`: what the portsides that run here say of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from watcher.cli.running import ask, running_here

if TYPE_CHECKING:
    from watcher.board.runtime import Running


@click.command(name="status", epilog="Example: portside status --output json | jq .url")
@click.option("--output", type=click.Choice(["plain", "json"]), default="plain", show_default=True)
@click.option("--url", is_flag=True, help="Print the newest portside's status address alone.")
def command(output: str, *, url: bool) -> int:
    """Show the forwards of the portsides that run here. Exit code 1 where none runs.

    A table for people; for a pipe a line for each, or a JSON object.
    """
    running = running_here()
    if url and running:
        click.echo(running[-1].url)
        return 0
    answered = [_show(one, output) for one in running]
    return 0 if any(answered) else 1


def _show(running: Running, output: str) -> bool:
    """Print its forwards; False where it does not answer."""
    from watcher.board.lines import JsonLines
    from watcher.board.records import CountedForward
    from watcher.board.text import printable
    from watcher.cli.shown import on_terminal, show_forwards

    forwards = ask(running, "/v1/forwards", list[CountedForward])
    if forwards is not None and output == "plain" and on_terminal():
        show_forwards(running, forwards)
        return True
    for forward in forwards or ():
        if output == "json":
            click.echo("".join(JsonLines().lines(forward)), nl=False)
        else:
            target = f"{forward.resource_type}/{forward.resource_name}:{forward.remote_port}"
            remarks = "  ".join(remark for remark in (forward.gateway, forward.reason) if remark)
            click.echo(printable(f"{forward.state:10} {forward.url or '-':28} {target}  {remarks}").rstrip())
    return forwards is not None
