"""The command `portside wait`: returns once forwards are ready, with the exit code that a script goes by."""

from __future__ import annotations

import click

from watcher.cli.complete import seen_names
from watcher.cli.options import READY_WITHIN, Seconds
from watcher.cli.running import Choice, choosing

EPILOG = """\b
Examples:
  portside wait && curl localhost:8080
  portside wait svc/web deploy/api:http --timeout 60
  portside run -- skaffold dev & portside wait --pid $!

Without names it waits as /readyz does: until the first plan stands (beside
Skaffold: a deploy has ended) and every forward is ready.

It waits for the portsides of this folder: started in it, or in the nearest folder
above it, below your home folder. One that does not run yet is waited for. --pid
and --folder choose others.

\b
Exit codes:
  0  all is ready
  1  a forward failed, the portside ended, there is no process --pid, the time is
     over or no portside runs here: stderr has a line for each thing that is not
     ready
  2  wrong usage
"""


@click.command(name="wait", epilog=EPILOG)
@click.argument("names", nargs=-1, metavar="[TYPE/NAME[:PORT] ...]", shell_complete=seen_names)
@click.option("--namespace", "-n", default="", help="Where the names are. Default: any.")
@click.option(
    "--timeout",
    envvar="PORTSIDE_TIMEOUT",
    show_envvar=True,
    type=Seconds(min=0, min_open=True),
    default=READY_WITHIN,
    show_default=True,
    metavar="SECONDS",
    help="Then it gives up.",
)
@choosing
def command(names: tuple[str, ...], namespace: str, timeout: float, pid: int | None, folder: str | None) -> int:
    """Return once the named forwards, or all, are ready."""
    import trio

    from watcher.board.lines import printable
    from watcher.board.readiness import parse_forward_query
    from watcher.cli.waiting import Waiting

    def say(line: str) -> None:
        click.echo(f"portside: {printable(line)}", err=True)

    waiting = Waiting([parse_forward_query(name, namespace) for name in names], Choice(pid, folder), say)
    problems = trio.run(waiting.run, timeout)
    for problem in problems:
        say(problem)
    return 1 if problems else 0
