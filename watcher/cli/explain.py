"""Owns `portside explain`: why something is forwarded or not, as the portsides that run here decided it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from watcher.cli.complete import seen_names
from watcher.cli.running import ask, running_here

if TYPE_CHECKING:
    from watcher.board.records import ExplainRecord

EPILOG = """\b
Examples:
  portside explain
  portside explain svc/web
  portside explain --output json | jq 'select(.forwarded | not)'
"""


@click.command(name="explain", epilog=EPILOG)
@click.argument("target", metavar="[TYPE/NAME]", default="", shell_complete=seen_names)
@click.option("--output", type=click.Choice(["plain", "json"]), default="plain", show_default=True)
def command(target: str, output: str) -> int:
    """Say of everything seen whether it is forwarded, and which rule decided.

    Grouped and wrapped for people; for a pipe a line for each, or a JSON object.
    Exit code 1 where no portside runs here, or none has seen TYPE/NAME.
    """
    from watcher.board.records import ExplainRecord
    from watcher.board.text import json_line
    from watcher.cli.shown import on_terminal, show_verdicts
    from watcher.config.targets import parse_target

    asked = parse_target(target) if target else None
    answers = [found for one in running_here() if (found := ask(one, "/v1/explain", list[ExplainRecord])) is not None]
    records = [
        record
        for found in answers
        for record in found
        if asked is None or (record.resource_type.lower(), record.resource_name) == asked
    ]
    if output == "plain" and on_terminal():
        show_verdicts(records)
    else:
        for record in records:
            click.echo(_line(record) if output == "plain" else json_line(record))
    if answers and asked and not records:
        click.echo(
            f"portside: {target} was not seen: services, pods and what makes them are seen where they are this run's",
            err=True,
        )
    return 0 if answers and (records or asked is None) else 1


def _line(record: ExplainRecord) -> str:
    from watcher.board.text import printable

    verdict = "yes" if record.forwarded else "no"
    name = f"{record.resource_type}/{record.resource_name}"
    container = f" container {record.container}" if record.container else ""
    port = f" port {record.remote_port}" if record.remote_port else ""
    told = f"{verdict:4}{name}{container}{port} in namespace {record.namespace}: {record.rule}"
    origin = f" ({record.origin})" if record.origin and record.origin not in record.rule else ""
    reason = f"; {record.reason}" if record.reason else ""
    return printable(f"{told}{origin}{reason}")
