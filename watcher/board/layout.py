"""Lays out forwards and verdicts as tables for a terminal, with rich: columns for a width, colours, links.

Takes records and a width, returns lines. It reads no clock and no terminal; `screen.py` does.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from watcher.board.lines import context_suffix, printable
from watcher.board.records import CountedForward, ExplainRecord, ForwardRecord, SkaffoldRecord, SkipRecord
from watcher.board.runtime import About

GAP = 2
# The columns that a narrow terminal leaves out, one by one in this order, until the others fit.
DROPPED_FIRST = ("BYTES OUT/IN", "OPEN/TOTAL", "POD", "NAMESPACE", "CONTEXT", "BY NAME", "NOTE")
_LINK_NUMBER = re.compile(r"\x1b\]8;id=\d+;")
# Cells. A note is cut off at the end, but a shorter one than this would say nothing.
SHORTEST_NOTE = 24
_STATES = {"ready": "green", "failed": "bold red", "stopped": "dim"}


class TableRow(Struct, frozen=True):
    """One forward to show. `note`: why it is not ready, or its last error."""

    record: CountedForward
    note: str = ""


class Canvas(Struct, frozen=True):
    """What a terminal can show. `width`: in cells."""

    width: int
    colour: bool = True

    def lines(self, *parts: RenderableType) -> list[str]:
        """The parts below each other, as lines with escape sequences."""
        console = Console(
            file=io.StringIO(),
            width=self.width,
            force_terminal=True,
            color_system="standard",
            no_color=not self.colour,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )
        with console.capture() as captured:
            for part in parts:
                console.print(part, no_wrap=True, overflow="ellipsis")
        # rich gives each link a new number; without it the same content is the same text, and is not drawn again.
        return _LINK_NUMBER.sub("\x1b]8;;", captured.get()).splitlines()


def forwards_table(rows: Sequence[TableRow], width: int) -> Table:
    """One line for each forward, with as many columns as fit."""
    several = len({row.record.context for row in rows if row.record.context}) > 1
    cells = [_cells(row, several_contexts=several) for row in rows]
    columns = _columns(cells, width)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style=Style(bold=True))
    for column, cells_wide in columns.items():
        table.add_column(column, width=cells_wide, no_wrap=True, overflow="ellipsis")
    for row in cells:
        table.add_row(*(row[column] for column in columns))
    return table


def verdicts_table(verdicts: Sequence[ExplainRecord], home: str = "") -> Table:
    """One row for each verdict; its rule and reason are wrapped. `home`: the default kube-context."""
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=False)
    for no_wrap in (True, True, False):
        table.add_column(no_wrap=no_wrap, overflow="ellipsis" if no_wrap else "fold")
    for one in verdicts:
        why = f"{one.rule}; {one.reason}" if one.reason else one.rule
        table.add_row(
            Text(f"  {target(one)}"),
            Text(printable(one.namespace + context_suffix(one.context, home))),
            Text(printable(why)),
        )
    return table


def about_lines(about: About, width: int) -> list[RenderableType]:
    """Context, namespace and page, on two lines if one is too short."""
    place, page = about.place, about.page
    link = Text(printable(page), style=Style(link=printable(about.url), color="cyan") if about.url else "dim")
    whole = Text.assemble(printable(place), ", ", link)
    return [whole] if whole.cell_len <= width else [Text(printable(place)), link]


def skaffold_line(record: SkaffoldRecord) -> Text:
    """Skaffold's phase, or that it has gone."""
    if not record.attached:
        return Text(f"Skaffold: {printable(record.reason) or 'gone'}; forwards stay, waiting for it", style="yellow")
    text = Text("Skaffold: ")
    text.append(printable(record.phase) or "attached")
    if record.iteration:
        text.append(f", iteration {record.iteration}")
    if record.failed:
        text.append(", failed", style="bold red")
    return text


def skips_line(skips: Iterable[SkipRecord]) -> Text | None:
    """One line about everything that is not forwarded: how many, and each reason once."""
    by_reason: dict[str, list[str]] = {}
    for skip in skips:
        port = f":{skip.remote_port}" if skip.remote_port else ""
        by_reason.setdefault(skip.reason, []).append(f"{skip.resource}{port}")
    if not by_reason:
        return None
    groups = (f"{_few(names)}: {reason}" for reason, names in by_reason.items())
    count = sum(len(names) for names in by_reason.values())
    return Text(printable(f"Not forwarded ({count}): {'; '.join(groups)}"), style="dim")


def target(record: ForwardRecord | ExplainRecord) -> str:
    port = f":{record.remote_port}" if record.remote_port else ""
    container = f" ({record.container})" if record.container else ""
    return printable(f"{record.resource}{port}{container}")


def size(count: int) -> str:
    """A number of bytes in at most five cells: 999, 1.2k, 34M."""
    number, units = float(count), ["", "k", "M", "G", "T"]
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:.{int(units[0] != '' and number < 9.95)}f}{units[0]}"


def _few(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _cells(row: TableRow, *, several_contexts: bool) -> Mapping[str, Text]:
    record = row.record
    carried = f"{size(record.bytes_sent)}/{size(record.bytes_received)}" if record.since else ""
    connections = f"{record.connections}/{record.connections_total}" if record.since else ""
    return {
        "NAME": Text(target(record)),
        "CONTEXT": Text(printable(record.context) if several_contexts else ""),
        "NAMESPACE": Text(printable(record.namespace)),
        "ADDRESS": _link(record.url, record.gateway or record.url) if record.url else Text("-"),
        "BY NAME": _link(record.gateway.removeprefix("http://"), record.gateway) if record.gateway else Text(""),
        "STATE": Text(record.state, style=_STATES.get(record.state, "yellow")),
        "POD": Text(printable(record.pod)),
        "OPEN/TOTAL": Text(connections),
        "BYTES OUT/IN": Text(carried),
        "NOTE": Text(printable(row.note)),
    }


def _link(label: str, url: str) -> Text:
    return Text(printable(label), style=Style(link=printable(url), color="cyan"))


def _columns(cells: Sequence[Mapping[str, Text]], width: int) -> dict[str, int]:
    """The columns to show and their widths: those that are not empty, without those that do not fit."""
    widths = {
        column: max(cell_len(column), *(row[column].cell_len for row in cells))
        for column in (cells[0] if cells else ())
        if any(row[column] for row in cells)
    }
    whole_note = widths.get("NOTE", 0)
    if whole_note:
        widths["NOTE"] = min(whole_note, SHORTEST_NOTE)
    for column in DROPPED_FIRST:
        if _left(widths, width) >= 0:
            break
        widths.pop(column, None)
    if "NOTE" in widths:
        widths["NOTE"] = min(whole_note, widths["NOTE"] + _left(widths, width))
    elif widths:
        widths["NAME"] = max(widths["NAME"] + min(_left(widths, width), 0), 1)
    return widths


def _left(widths: Mapping[str, int], width: int) -> int:
    return width - sum(widths.values()) - GAP * (len(widths) - 1)
