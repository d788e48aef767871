"""The command `portside status`: the forwards of the portsides that run here, this folder's first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from watcher.cli.running import Choice, ask, choosing, heading, object_line, running_here

if TYPE_CHECKING:
    from watcher.board.records import CountedForward
    from watcher.board.runtime import Instance

EPILOG = """\b
Examples:
  portside status
  portside status --output json | jq .url
  portside status --folder ../shop --url
"""


@click.command(name="status", epilog=EPILOG)
@click.option("--output", type=click.Choice(["plain", "json"]), default="plain", show_default=True)
@click.option("--url", is_flag=True, help="Print one status address alone: this folder's newest, else the newest.")
@choosing
def command(output: str, *, url: bool, pid: int | None, folder: str | None) -> int:
    """Show the forwards of the portsides that run here, this folder's first.

    For each portside a line with its process, folder, Kubernetes context, namespace
    and page; then a table for people, for a pipe a line for each forward. As JSON
    one object for each forward, with pid and folder. Exit code 1 where none runs.
    """
    from watcher.cli.options import refuse_idle
    from watcher.cli.running import here

    refuse_idle(("--output", "output", "with --url, which prints the address alone", url))
    running = running_here(Choice(pid, folder))
    if url and running:
        click.echo((here(running) or running)[-1].url)
        return 0
    answered = [_show(one, output) for one in running]
    return 0 if any(answered) else 1


def _show(running: Instance, output: str) -> bool:
    """Print its forwards; False where it does not answer."""
    from watcher.board.lines import printable
    from watcher.board.records import CountedForward
    from watcher.cli.shown import on_terminal, show_forwards

    forwards = ask(running, "/v1/forwards", list[CountedForward])
    if forwards is None:
        return False
    if output == "json":
        lines = [object_line(running, forward) for forward in forwards]
    elif on_terminal():
        show_forwards(running, forwards)
        return True
    else:
        lines = [
            printable(line) for line in (heading(running), *(_line(forward, running.context) for forward in forwards))
        ]
    for line in lines:
        click.echo(line)
    return True


def _line(forward: CountedForward, home: str = "") -> str:
    from watcher.board.lines import context_suffix

    where = context_suffix(forward.context, home)
    target = f"{forward.resource_type}/{forward.resource_name}:{forward.remote_port}{where}"
    remarks = "  ".join(remark for remark in (forward.gateway, forward.reason) if remark)
    return f"{forward.state:10} {forward.url or '-':28} {target}  {remarks}".rstrip()
