"""The command `portside explain`: why something is forwarded or not, as the portsides that run here decided it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from watcher.cli.complete import seen_names
from watcher.cli.running import Choice, ask, choosing, heading, here, object_line, running_here

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watcher.board.records import ExplainRecord
    from watcher.board.runtime import Instance

EPILOG = """\b
Examples:
  portside explain
  portside explain svc/web
  portside explain --output json | jq 'select(.forwarded | not)'
"""


@click.command(name="explain", epilog=EPILOG)
@click.argument("target", metavar="[TYPE/NAME]", default="", shell_complete=seen_names)
@click.option("--output", type=click.Choice(["plain", "json"]), default="plain", show_default=True)
@choosing
def command(target: str, output: str, *, pid: int | None, folder: str | None) -> int:
    """Show what is forwarded, what is not, and why.

    Of several portsides this folder's first, each below a line with its process,
    folder, context, namespace and page. Grouped and wrapped for people; for a pipe a
    line for each verdict, or a JSON object. Exit code 1 where no portside runs here,
    or none has seen TYPE/NAME.
    """
    from watcher.board.lines import printable
    from watcher.board.records import ExplainRecord
    from watcher.config.targets import parse_target
    from watcher.errors import did_you_mean

    asked = parse_target(target) if target else None
    running = running_here(Choice(pid, folder))
    several = len(running) > 1 or running != here(running)
    answered = seen = False
    names: set[str] = set()
    for one in running:
        found = ask(one, "/v1/explain", list[ExplainRecord])
        if found is None:
            continue
        answered = True
        names |= {f"{r.resource_type.lower()}/{r.resource_name}" for r in found}
        records = [r for r in found if asked is None or (r.resource_type.lower(), r.resource_name) == asked]
        seen = seen or bool(records)
        if records:
            _show(one, records, output, titled=several)
    if answered and asked and not seen:
        near = did_you_mean("/".join(asked), sorted(names))
        click.echo(
            f"portside: {printable(target)} was not seen: services, pods and their owners are seen where they are this "
            f"run's{printable(near)}",
            err=True,
        )
    return 0 if answered and (seen or asked is None) else 1


def _show(running: Instance, records: Sequence[ExplainRecord], output: str, *, titled: bool) -> None:
    from watcher.board.lines import printable
    from watcher.cli.shown import on_terminal, show_heading, show_verdicts

    if output == "json":
        for record in records:
            click.echo(object_line(running, record))
    elif on_terminal():
        if titled:
            show_heading(running)
        show_verdicts(records, running.context)
    else:
        for line in [
            *([printable(heading(running))] if titled else ()),
            *(_line(record, running.context) for record in records),
        ]:
            click.echo(line)


def _line(record: ExplainRecord, home: str = "") -> str:
    from watcher.board.lines import context_suffix, printable

    verdict = "yes" if record.forwarded else "no"
    name = f"{record.resource_type}/{record.resource_name}"
    container = f" container {record.container}" if record.container else ""
    port = f" port {record.remote_port}" if record.remote_port else ""
    place = f"in namespace {record.namespace}{context_suffix(record.context, home)}"
    told = f"{verdict:4}{name}{container}{port} {place}: {record.rule}"
    origin = f" ({record.origin})" if record.origin and record.origin not in record.rule else ""
    reason = f"; {record.reason}" if record.reason else ""
    return printable(f"{told}{origin}{reason}")
