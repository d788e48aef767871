"""Lays out forwards and verdicts as tables for a terminal, with rich: columns for a width, colours, links.

Takes records and a width, returns lines. It reads no clock and no terminal; `screen.py` does.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from watcher.board.lines import context_suffix, printable
from watcher.board.records import CountedForward, ExplainRecord, ForwardRecord, SkaffoldRecord, SkipRecord
from watcher.board.runtime_files import About
from watcher.cluster.kinds import BY_NAME

GAP = 2
# The columns that a narrow terminal leaves out, one by one in this order, until the others fit.
# A column that distinguishes two rows of the same name stays.
DROPPED_FIRST = ("VIA", "BYTES OUT/IN", "OPEN/TOTAL", "POD", "BY NAME", "NAMESPACE", "CONTEXT")
_LINK_NUMBER = re.compile(r"\x1b\]8;id=\d+;")
# Lines for a note below its row.
NOTE_LINES = 2
# Letters. Longer types are shown as kubectl's short name.
LONGEST_TYPE = 3
# Only measures and wraps.
_CONSOLE = Console(file=io.StringIO())
_STATES = {"ready": "green", "failed": "bold red", "stopped": "dim"}


class Canvas(Struct, frozen=True):
    """What a terminal can show. `width`: in cells."""

    width: int
    colour: bool = True

    def lines(self, *parts: Text | Table) -> list[str]:
        """The parts below each other, as lines with escape sequences."""
        console = Console(
            file=io.StringIO(),
            width=self.width,
            force_terminal=True,
            color_system="standard",
            no_color=not self.colour,
            legacy_windows=False,
        )
        with console.capture() as captured:
            for part in parts:
                console.print(part, no_wrap=True, overflow="ellipsis")
        # rich gives each link a new number; without it the same content is the same text, and is not drawn again.
        return _LINK_NUMBER.sub("\x1b]8;;", captured.get()).splitlines()


def forwards_table(
    forwards: Sequence[CountedForward], width: int, selected: str = "", among: Sequence[ForwardRecord] = ()
) -> list[tuple[Text, ...]]:
    """Lay the forwards out in the columns that fit. Notes get a column only if all fit there whole.

    Returns the heading, then each forward's lines: one, and one or two more if its note has no column.
    `selected`: the id of the marked row. `among`: all forwards, if `forwards` are only some of them.
    """
    records = among or forwards
    several = len({record.context for record in records if record.context}) > 1
    cells = [_cells(record, several_contexts=several) for record in forwards]
    columns = _columns(cells, width, _distinguishing(records))
    heading = _line({column: Text(column, style="bold") for column in columns}, columns, width)
    table: list[tuple[Text, ...]] = [(heading,)]
    for record, row in zip(forwards, cells, strict=True):
        line = _line(row, columns, width)
        if record.id == selected:
            line.stylize("reverse")
        below = () if "NOTE" in columns else _note_lines(record, width)
        table.append((line, *below))
    return table


def _line(cells: Mapping[str, Text], columns: Mapping[str, int], width: int) -> Text:
    line = Text()
    for column, column_width in columns.items():
        cell = cells[column].copy()
        cell.truncate(column_width, overflow="ellipsis", pad=True)
        line.append_text(cell).append(" " * GAP)
    line.rstrip()
    line.truncate(width, overflow="ellipsis")
    return line


def _note_lines(record: CountedForward, width: int) -> tuple[Text, ...]:
    """The note below its row, indented and wrapped; what does not fit into the lines is cut off."""
    if not record.note:
        return ()
    room = max(width - GAP, 1)
    style = _STATES.get(record.state, "yellow") if record.state != "ready" else "dim"
    wrapped = list(Text(printable(record.note), style=style).wrap(_CONSOLE, room, overflow="fold"))
    lines = wrapped[:NOTE_LINES]
    if len(wrapped) > NOTE_LINES:
        lines[-1] = lines[-1] + Text("…")
        lines[-1].truncate(room, overflow="ellipsis")
    return tuple(Text(" " * min(GAP, width - 1)) + line for line in lines)


def verdicts_table(verdicts: Sequence[ExplainRecord], home: str = "") -> Table:
    """One row for each verdict; its rule and reason are wrapped. `home`: the default kube-context."""
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=False)
    for no_wrap in (True, True, False):
        table.add_column(no_wrap=no_wrap, overflow="ellipsis" if no_wrap else "fold")
    for one in verdicts:
        table.add_row(
            Text(f"  {target(one)}"),
            Text(printable(one.namespace + context_suffix(one.context, home))),
            Text(printable(f"{one.rule}; {one.remark}" if one.remark else one.rule)),
        )
    return table


def about_lines(about: About, width: int, hint: str) -> list[Text]:
    """Context, namespace, page and a hint, on two lines if one is too short."""
    place, page = about.place, about.page
    link = Text(printable(page), style=Style(link=printable(about.url), color="cyan") if about.url else "dim")
    if hint:
        link = Text.assemble(link, Text(f", {hint}", style="dim"))
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
        by_reason.setdefault(skip.reason, []).append(target(skip))
    if not by_reason:
        return None
    groups = (f"{_few(names)}: {reason}" for reason, names in by_reason.items())
    count = sum(len(names) for names in by_reason.values())
    return Text(printable(f"Not forwarded ({count}): {'; '.join(groups)}"), style="dim")


def target(record: ForwardRecord | ExplainRecord | SkipRecord) -> str:
    """The resource and port with a short type, such as svc/web:8080."""
    port = f":{record.remote_port}" if record.remote_port else ""
    container = f" ({record.container})" if record.container else ""
    kind = BY_NAME.get(record.resource_type.lower())
    short = kind.short[0] if kind and kind.short and len(kind.singular) > LONGEST_TYPE else record.resource_type
    return printable(f"{short}/{record.resource_name}{port}{container}")


def searched_text(record: ForwardRecord) -> str:
    """The text of a forward that the live table's filter searches."""
    names = (target(record), record.resource_type, record.namespace, record.context, record.state)
    return " ".join((*names, record.url, record.gateway, record.pod, record.reason))


def size(count: int) -> str:
    """A number of bytes in at most five cells: 999, 1.2k, 34M."""
    number, units = float(count), ["", "k", "M", "G", "T"]
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:.{int(units[0] != '' and number < 9.95)}f}{units[0]}"


def _few(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _cells(record: CountedForward, *, several_contexts: bool) -> Mapping[str, Text]:
    carried = f"{size(record.bytes_sent)}/{size(record.bytes_received)}" if record.since else ""
    connections = f"{record.connections}/{record.connections_total}" if record.since else ""
    return {
        "NAME": Text(target(record)),
        "CONTEXT": Text(printable(record.context) if several_contexts else ""),
        "NAMESPACE": Text(printable(record.namespace)),
        "ADDRESS": _link(record.url, record.link) if record.url else Text("-"),
        "BY NAME": _link(record.gateway.removeprefix("http://"), record.gateway) if record.gateway else Text(""),
        "STATE": Text(record.state, style=_STATES.get(record.state, "yellow")),
        "POD": Text(printable(record.pod)),
        "VIA": Text("pod" if record.via == "pod" else ""),
        "OPEN/TOTAL": Text(connections),
        "BYTES OUT/IN": Text(carried),
        "NOTE": Text(printable(record.note)),
    }


def _link(label: str, url: str) -> Text:
    return Text(printable(label), style=Style(link=printable(url), color="cyan"))


def _columns(cells: Sequence[Mapping[str, Text]], width: int, needed: set[str]) -> dict[str, int]:
    """The columns to show and their widths: those that are not empty, without those that neither fit nor are needed."""
    widths = {
        column: max(cell_len(column), *(row[column].cell_len for row in cells))
        for column in (cells[0] if cells else ())
        if any(row[column] for row in cells)
    }
    if _left(widths, width) < 0:
        widths.pop("NOTE", None)
    for column in DROPPED_FIRST:
        if _left(widths, width) >= 0:
            break
        if column not in needed:
            widths.pop(column, None)
    if widths:
        widths["NAME"] = max(widths["NAME"] + min(_left(widths, width), 0), 1)
    return widths


def _distinguishing(records: Iterable[ForwardRecord]) -> set[str]:
    """The columns without which two rows would have the same name."""
    names = {(r.resource, r.remote_port, r.container, r.namespace, r.context) for r in records}
    needed = set()
    if len({name[:3] for name in names}) < len({name[:4] for name in names}):
        needed.add("NAMESPACE")
    if len({name[:4] for name in names}) < len(names):
        needed.add("CONTEXT")
    return needed


def _left(widths: Mapping[str, int], width: int) -> int:
    return width - sum(widths.values()) - GAP * (len(widths) - 1)
