"""The commands about portsides that run here: `status`, `explain` and `wait`.

On a terminal they print aligned tables in colour; to a pipe, one line or JSON object for each thing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import click

from watcher.cli.completion import complete_namespaces, complete_seen
from watcher.cli.main import STARTED, print_error
from watcher.cli.option_values import Seconds, refuse_idle
from watcher.cli.options import NOTICE_WITHIN, READY_WITHIN, choosing

if TYPE_CHECKING:
    from watcher.board.layout import Canvas
    from watcher.board.records import CountedForward, ExplainRecord
    from watcher.board.runtime_files import Instance

STATUS_EPILOG = """\b
Examples:
  portside status
  portside status --output json | jq .url
  portside status --folder ../shop --url
"""

EXPLAIN_EPILOG = """\b
Examples:
  portside explain
  portside explain svc/web
  portside explain --output json | jq 'select(.forwarded | not)'
"""

WAIT_EPILOG = """\b
Examples:
  portside wait && curl localhost:8080
  portside wait svc/web deploy/api:http --timeout 60
  portside run -- skaffold dev & portside wait --pid $!
  portside wait --iteration && curl localhost:8080

Without names it waits like /readyz: until the first plan is made (beside
Skaffold: after a deploy) and every forward is ready.

It waits for the portsides of this folder: those started in it, or in the nearest
folder above it, below your home folder. It also waits for one that does not run
yet. --pid and --folder select others.

With --iteration it waits until what was saved before is built, deployed and ready.
It prints the number of Skaffold's iteration. If Skaffold notices no change within
--notice-within, there was none. Give more if Skaffold's --watch-poll-interval is
above 1000 ms.

\b
Exit codes:
  0  all is ready
  1  a build or deploy failed, a forward failed, the portside ended, no
     process --pid runs, the time is over or no portside runs here; stderr has
     a line for each thing that is not ready
  2  wrong usage
"""

Shown = TypeVar("Shown")

_seconds_option = partial(
    click.option, type=Seconds(min=0, min_open=True), metavar="SECONDS", show_envvar=True, show_default=True
)
OUTPUT = click.option("--output", type=click.Choice(["plain", "json"]), default="plain", show_default=True)


@click.command(name="status", epilog=STATUS_EPILOG)
@OUTPUT
@click.option("--url", is_flag=True, help="Print one status address only: this folder's newest, else the newest.")
@choosing
def status_command(output: str, *, url: bool, pid: int | None, folder: str | None) -> int:
    """Show the forwards of the portsides that run here, this folder's first.

    For each portside: a line with its process, folder, Kubernetes context, namespace
    and page, then its forwards. As JSON: one object for each forward, with pid and
    folder. Exit code 1 if no portside runs here.
    """
    from watcher.board.records import CountedForward
    from watcher.cli import instances

    refuse_idle(("--output", "output", "with --url, which prints the address alone", url))
    running = instances.running_here(instances.InstanceFilter(pid, folder))
    if url and running:
        click.echo((instances.here(running) or running)[-1].url)
        return 0
    answered = False
    for one, forwards in instances.answers(running, "/v1/forwards", list[CountedForward]):
        answered = True
        _print_records(one, forwards, output, _forward_line, _print_forwards)
    return 0 if answered else 1


@click.command(name="explain", epilog=EXPLAIN_EPILOG)
@click.argument("target", metavar="[TYPE/NAME]", default="", shell_complete=complete_seen)
@OUTPUT
@choosing
def explain_command(target: str, output: str, *, pid: int | None, folder: str | None) -> int:
    """Show what is forwarded, what is not, and why.

    With several portsides, this folder's first, each below a line with its process,
    folder, context, namespace and page. On a terminal: grouped and wrapped. To a
    pipe: one line or JSON object for each decision. Exit code 1 if no portside runs
    here, or none has seen TYPE/NAME.
    """
    from watcher.board.readiness import parse_forward_query
    from watcher.board.records import ExplainRecord
    from watcher.cli import instances
    from watcher.errors import ConfigError, did_you_mean

    query = parse_forward_query(target) if target else None
    if query and query.port:
        raise ConfigError(f"{target!r}: give TYPE/NAME without a port; every port is explained")
    running = instances.running_here(instances.InstanceFilter(pid, folder))
    several = len(running) > 1 or running != instances.here(running)
    answered = seen = False
    names: set[str] = set()
    for one, found in instances.answers(running, "/v1/explain", list[ExplainRecord]):
        answered = True
        names |= {f"{record.resource_type.lower()}/{record.resource_name}" for record in found}
        records = [record for record in found if query is None or query.names(record)]
        if not records:
            continue
        seen = True
        _print_records(one, records, output, _verdict_line, _print_verdicts, heading=several)
    if answered and query and not seen:
        hint = did_you_mean(f"{query.kind}/{query.name}", sorted(names))
        print_error(f'no {query.kind} "{query.name}" in this run{hint}')
    return 0 if answered and (seen or query is None) else 1


@click.command(name="wait", epilog=WAIT_EPILOG)
@click.argument("names", nargs=-1, metavar="[TYPE/NAME[:PORT] ...]", shell_complete=complete_seen)
@click.option(
    "--namespace",
    "-n",
    default="",
    shell_complete=complete_namespaces,
    help="Wait for names in this namespace only. Default: in any.",
)
@_seconds_option("--timeout", envvar="PORTSIDE_TIMEOUT", default=READY_WITHIN, help="Give up after this long.")
@click.option("--iteration", is_flag=True, help="First wait until Skaffold has deployed what was saved.")
@_seconds_option(
    "--notice-within",
    envvar="PORTSIDE_NOTICE_WITHIN",
    default=NOTICE_WITHIN,
    help="With --iteration: how long Skaffold may take to notice a save.",
)
@choosing
def wait_command(
    names: tuple[str, ...],
    namespace: str,
    timeout: float,
    *,
    iteration: bool,
    notice_within: float,
    pid: int | None,
    folder: str | None,
) -> int:
    """Return when the named forwards, or all, are ready."""
    import trio

    from watcher.board.readiness import parse_forward_query
    from watcher.cli import instances
    from watcher.cli.readiness_wait import ReadinessWait

    refuse_idle(("--notice-within", "notice_within", "without --iteration", not iteration))
    parsed = [parse_forward_query(name, namespace) for name in names]
    choice = instances.InstanceFilter(pid, folder)
    wait = ReadinessWait(parsed, choice, print_error, notice_within if iteration else None, STARTED)
    problems = trio.run(wait.run, timeout)
    for problem in problems:
        print_error(problem)
    for line in () if problems else wait.served:
        click.echo(line)
    return 1 if problems else 0


def _on_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _print_records(
    one: Instance,
    records: Sequence[Shown],
    output: str,
    line: Callable[[Shown, str], str],
    print_table: Callable[[Sequence[Shown], str], None],
    *,
    heading: bool = True,
) -> None:
    """Prints what one portside answered. `line` and `print_table` take its kube-context, which they do not repeat."""
    from watcher.board.lines import printable
    from watcher.cli.instances import object_line

    if output == "json":
        _print(object_line(one, record) for record in records)
        return
    on_terminal = _on_terminal()
    if heading:  # not in a table, so that the terminal wraps it
        text = printable(f"{one.name}: {one.where}")
        click.echo(click.style(text, bold=True) if on_terminal else text)
    if on_terminal:
        print_table(records, one.context)
    else:
        _print(line(record, one.context) for record in records)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _forward_line(forward: CountedForward, home: str) -> str:
    from watcher.board.lines import context_suffix, printable

    where = context_suffix(forward.context, home)
    target = f"{forward.resource_type}/{forward.resource_name}:{forward.remote_port}{where}"
    direct = "direct" if forward.via == "pod" else ""
    remarks = "  ".join(remark for remark in (forward.gateway, direct, forward.reason) if remark)
    return printable(f"{forward.state:10} {forward.url or '-':28} {target}  {remarks}".rstrip())


def _verdict_line(record: ExplainRecord, home: str) -> str:
    from watcher.board.lines import context_suffix, printable

    verdict = "yes" if record.forwarded else "no"
    name = f"{record.resource_type}/{record.resource_name}"
    container = f" container {record.container}" if record.container else ""
    port = f" port {record.remote_port}" if record.remote_port else ""
    place = f"in namespace {record.namespace}{context_suffix(record.context, home)}"
    origin = f" ({record.origin})" if record.origin and record.origin not in record.rule else ""
    remark = f"; {record.remark}" if record.remark else ""
    return printable(f"{verdict:4}{name}{container}{port} {place}: {record.rule}{origin}{remark}")


def _print_forwards(forwards: Sequence[CountedForward], _home: str) -> None:
    from rich.text import Text

    from watcher.board.layout import forwards_table

    paper = _paper()
    groups = forwards_table(forwards, paper.width) if forwards else [(Text("nothing is forwarded", "dim"),)]
    _print(paper.lines(*(line for group in groups for line in group)))


def _print_verdicts(records: Sequence[ExplainRecord], home: str) -> None:
    """Prints a table of what is forwarded, then one of what is not, each with the rule that decided."""
    from rich.text import Text

    from watcher.board.layout import verdicts_table

    paper = _paper()
    for title, style, forwarded in (("Forwarded", "bold green", True), ("Not forwarded", "bold yellow", False)):
        if group := [record for record in records if record.forwarded is forwarded]:
            _print(paper.lines(Text(f"{title} ({len(group)})", style), verdicts_table(group, home)))


def _paper() -> Canvas:
    from watcher.board.layout import Canvas

    return Canvas(os.get_terminal_size(sys.stdout.fileno()).columns or 80, colour=not os.environ.get("NO_COLOR"))
