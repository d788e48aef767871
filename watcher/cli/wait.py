"""Owns `portside wait`: the words, and the exit code a script goes by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from watcher.cli.complete import seen_names
from watcher.cli.options import READY_WITHIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from watcher.board.runtime import Running

EPILOG = """\b
Examples:
  portside wait && curl localhost:8080
  portside wait svc/web deploy/api:http --timeout 60
  portside run -- skaffold dev & portside wait --pid $!

Without names it waits as /readyz does: until the first plan stands (beside
Skaffold: a deploy has ended) and every forward is ready. A portside that is not
there yet is waited for. Several are waited for all; --pid and --folder choose.

\b
Exit codes:
  0  all is ready
  1  a forward failed, the portside ended, the time is over or none runs here:
     a line on stderr for each thing that is not ready says why
  2  wrong usage
"""


@click.command(name="wait", epilog=EPILOG)
@click.argument("names", nargs=-1, metavar="[TYPE/NAME[:PORT] ...]", shell_complete=seen_names)
@click.option("--namespace", "-n", default="", help="Where the names are. Default: any.")
@click.option(
    "--timeout",
    envvar="PORTSIDE_TIMEOUT",
    show_envvar=True,
    type=click.FloatRange(min=0, min_open=True),
    default=READY_WITHIN,
    show_default=True,
    metavar="SECONDS",
    help="Then it gives up.",
)
@click.option("--pid", type=click.IntRange(min=1), default=None, metavar="PID", help="Only this portside.")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, resolve_path=True),
    default=None,
    help="Only portsides that were started in this folder.",
)
def command(names: tuple[str, ...], namespace: str, timeout: float, pid: int | None, folder: str | None) -> int:
    """Return once the named forwards, or all, are ready."""
    import trio

    from watcher.board.awaited import parse_name
    from watcher.board.text import printable
    from watcher.cli.waiting import Waiting

    def say(line: str) -> None:
        click.echo(f"portside: {printable(line)}", err=True)

    waiting = Waiting([parse_name(name, namespace) for name in names], _chosen(pid, folder), say)
    problems = trio.run(waiting.run, timeout)
    for problem in problems:
        say(problem)
    return 1 if problems else 0


def _chosen(pid: int | None, folder: str | None) -> Callable[[Running], bool]:
    from pathlib import Path

    def chosen(running: Running) -> bool:
        return pid in {None, running.pid} and (folder is None or Path(running.folder).resolve() == Path(folder))

    return chosen
