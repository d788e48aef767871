"""Owns how forwards look on a terminal: rows, which columns a width allows, colours, links. Made with rich.

Refuses to look at clocks and terminals: what is true, how wide and how high it may be come in, lines come out.
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

from watcher.board.about import About
from watcher.board.lines import elsewhere
from watcher.board.records import CountedForward, ExplainRecord, ForwardRecord, SkaffoldRecord, SkipRecord
from watcher.board.text import printable

GAP = 2
# Left out one by one, in this order, until a narrow terminal has room for the rest.
DROPPED_FIRST = ("BYTES OUT/IN", "OPEN/TOTAL", "POD", "NAMESPACE", "CONTEXT", "BY NAME", "NOTE")
_LINK_NUMBER = re.compile(r"\x1b\]8;id=\d+;")
# A note is cut off; less of it than this says nothing.
SHORTEST_NOTE = 24
_STATES = {"ready": "green", "failed": "bold red", "stopped": "dim"}


class Row(Struct, frozen=True):
    """One forward as it is to be shown; `note`: why it does not lead anywhere, or what went wrong last."""

    record: CountedForward
    note: str = ""


class Paper(Struct, frozen=True):
    """What is written on: cells of width, colour or not."""

    width: int
    colour: bool = True

    def lines(self, *parts: RenderableType) -> list[str]:
        """The parts one below the other, each line with its escape sequences."""
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
        # rich numbers links anew each time; without a number the same picture is the same text.
        return _LINK_NUMBER.sub("\x1b]8;;", captured.get()).splitlines()


def forwards_table(rows: Sequence[Row], width: int) -> Table:
    """A row for each forward, each on one line, in as many columns as fit."""
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
    """A row for each verdict, its rule (and what is wrong or awaited) wrapped."""
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=False)
    for no_wrap in (True, True, False):
        table.add_column(no_wrap=no_wrap, overflow="ellipsis" if no_wrap else "fold")
    for one in verdicts:
        why = f"{one.rule}; {one.reason}" if one.reason else one.rule
        table.add_row(
            Text(f"  {target(one)}"),
            Text(printable(one.namespace + elsewhere(one.context, home))),
            Text(printable(why)),
        )
    return table


def about_lines(about: About, width: int) -> list[RenderableType]:
    """Context, namespace and page; on two lines where one is too narrow for them."""
    place, page = about.place, about.page
    link = Text(printable(page), style=Style(link=printable(about.url), color="cyan") if about.url else "dim")
    whole = Text.assemble(printable(place), ", ", link)
    return [whole] if whole.cell_len <= width else [Text(printable(place)), link]


def skaffold_line(record: SkaffoldRecord) -> Text:
    """What Skaffold does, or that it is gone."""
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
    """What is not forwarded, folded: how many, each reason once."""
    by_reason: dict[str, list[str]] = {}
    for skip in skips:
        port = f":{skip.remote_port}" if skip.remote_port else ""
        by_reason.setdefault(skip.reason, []).append(f"{skip.resource_type}/{skip.resource_name}{port}")
    if not by_reason:
        return None
    said = (f"{_few(names)}: {reason}" for reason, names in by_reason.items())
    count = sum(len(names) for names in by_reason.values())
    return Text(printable(f"Not forwarded ({count}): {'; '.join(said)}"), style="dim")


def target(record: ForwardRecord | ExplainRecord) -> str:
    port = f":{record.remote_port}" if record.remote_port else ""
    container = f" ({record.container})" if record.container else ""
    return printable(f"{record.resource_type}/{record.resource_name}{port}{container}")


def size(count: int) -> str:
    """Bytes in at most five cells: 999, 1.2k, 34M."""
    number, units = float(count), ["", "k", "M", "G", "T"]
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:.{int(units[0] != '' and number < 9.95)}f}{units[0]}"


def _few(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _cells(row: Row, *, several_contexts: bool) -> Mapping[str, Text]:
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


def _link(words: str, url: str) -> Text:
    return Text(printable(words), style=Style(link=printable(url), color="cyan"))


def _columns(cells: Sequence[Mapping[str, Text]], width: int) -> dict[str, int]:
    """Those that have something in them, and how wide; fewer where they would not fit."""
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
