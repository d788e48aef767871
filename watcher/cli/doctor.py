"""Owns `portside doctor`: the checks of watcher/doctor, shown; the exit code says the worst."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from watcher.cli import logs
from watcher.cli.options import collect_place, environment, event_api, placed

if TYPE_CHECKING:
    from watcher.doctor.findings import Finding

COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "red"}
# As wide as the longest level and the longest check's name.
LEVEL_WIDTH, CHECK_WIDTH = 9, 15

EPILOG = """\b
Examples:
  portside doctor
  portside doctor -n shop --skaffold http://127.0.0.1:50052
  portside doctor --output json | jq 'select(.level == "error")'

Nothing is changed: permissions are asked for and not tried, ports are not bound,
Skaffold's event stream is not opened.
"""


@click.command(name="doctor", epilog=EPILOG)
@event_api
@placed
@click.option("--output", type=click.Choice(["plain", "json"]), default="plain", show_default=True)
def command(url: str, output: str, **given: Any) -> int:
    """Check everything that portside stands on, and say what to do.

    Exit code 1 where something keeps portside from working; notes and warnings are 0.
    """
    import trio

    from watcher.board.lines import json_line
    from watcher.cli.configured import project_of
    from watcher.doctor.checks import Subject, checks_of
    from watcher.doctor.examine import examine
    from watcher.doctor.findings import failed
    from watcher.skaffold.http_request import parse_api_address

    place = collect_place(given)
    logs.set_up(0)
    subject = Subject(
        kubeconfig=place.kubeconfig,
        context=place.kube_context,
        namespace=place.namespace,
        project=project_of(place, "dev"),
        skaffold=parse_api_address(url).url if url else "",
        environ=environment(),
    )
    findings = trio.run(examine, checks_of(subject))
    for finding in findings:
        click.echo(json_line(finding) if output == "json" else _text(finding), color=_colour())
    return 1 if failed(findings) else 0


def _colour() -> bool | None:
    """None: click's own choice, which is whether it is a terminal (no-color.org)."""
    return False if os.environ.get("NO_COLOR") else None


def _text(finding: Finding) -> str:
    from watcher.board.lines import printable

    level = click.style(f"{finding.level:{LEVEL_WIDTH}}", fg=COLOURS[finding.level])
    line = f"{level}{finding.check:{CHECK_WIDTH}}{printable(finding.found)}"
    remedy = f"\n{'':{LEVEL_WIDTH + CHECK_WIDTH}}→ {printable(finding.remedy)}" if finding.remedy else ""
    return line + remedy
