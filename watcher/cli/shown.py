"""Owns answers to people on a terminal: aligned, wrapped to its width, in colour where that is wanted. Made with rich.

Refuses pipes: there a line a thing is what people and programs read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from watcher.board.layout import Canvas
    from watcher.board.records import CountedForward, ExplainRecord
    from watcher.board.runtime import Instance


def on_terminal() -> bool:
    """Whether somebody looks."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def show_heading(running: Instance) -> None:
    """Which portside what follows is about."""
    from watcher.board.lines import printable
    from watcher.cli.running import heading

    click.secho(printable(heading(running)), bold=True)  # the terminal wraps it: no end of it is cut off


def show_forwards(running: Instance, forwards: Sequence[CountedForward]) -> None:
    """One portside's, below its name."""
    from rich.text import Text

    from watcher.board.layout import TableRow, forwards_table

    show_heading(running)
    paper = _paper()
    rows = [TableRow(one, one.reason or one.last_error) for one in forwards]
    _echo(paper.lines(forwards_table(rows, paper.width) if rows else Text("nothing is forwarded", "dim")))


def show_verdicts(records: Sequence[ExplainRecord], home: str) -> None:
    """What is forwarded, then what is not, each with the rule that decided. `home`: the default kube-context."""
    from rich.text import Text

    from watcher.board.layout import verdicts_table

    paper = _paper()
    for heading, style, forwarded in (("Forwarded", "bold green", True), ("Not forwarded", "bold yellow", False)):
        if group := [record for record in records if record.forwarded is forwarded]:
            _echo(paper.lines(Text(f"{heading} ({len(group)})", style), verdicts_table(group, home)))


def _paper() -> Canvas:
    from watcher.board.layout import Canvas

    return Canvas(os.get_terminal_size(sys.stdout.fileno()).columns or 80, colour=not os.environ.get("NO_COLOR"))


def _echo(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(line)
