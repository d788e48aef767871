"""Renders records as lines: Skaffold's own sentences, or JSON. Makes text from outside safe for a terminal.

A reader of stdout that is slow gets fewer lines (Subscription); it never slows down a forward.
"""

from __future__ import annotations

import math
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache

import msgspec
import trio

from forwarders.spec import without_count
from forwarders.system.terminals import write_whole
from watcher.board.board import Board
from watcher.board.changes import Subscription, is_final, record_key
from watcher.board.records import ForwardRecord, Record, SkaffoldRecord, SkipRecord
from watcher.board.runtime_files import About

# Seconds. A forward that is not ready for less than this is not reported to people.
REPORT_WAIT_AFTER = 1.0

REPLACEMENT = "�"
# Unicode categories, so that no single character can be forgotten: controls, formats (zero-width characters, byte order
# marks, joiners, overrides of direction, tags), halves of surrogate pairs, separators of lines and paragraphs.
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Letters and marks that are displayed as nothing.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")

Lines = tuple[str, ...]


@cache
def _shown(character: str) -> str:
    """What to display for this character in a line of text."""
    category = unicodedata.category(character)
    if category in _HARMFUL or character in _INVISIBLE:
        return REPLACEMENT
    return " " if category == "Zs" else character


@cache
def _escaped(character: str) -> str:
    """How to write this character in a JSON string. The encoder has escaped the controls below 32 already."""
    if _shown(character) == character:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{int.from_bytes(units[at : at + 2]):04x}" for at in range(0, len(units), 2))


def _replaced(text: str, replacement: Callable[[str], str]) -> str:
    table = {ord(character): new for character in set(text) if (new := replacement(character)) != character}
    return text.translate(table) if table else text


def printable(text: str) -> str:
    """`text` with harmful characters replaced: it cannot steer a terminal, hide words or reorder them."""
    return text if text.isascii() and text.isprintable() else _replaced(text, _shown)


def json_line(value: object) -> str:
    """`value` as one line of JSON, with harmful characters escaped."""
    line = msgspec.json.encode(value).decode()
    return line if line.isascii() and line.isprintable() else _replaced(line, _escaped)


class LineRenderer(ABC):
    """Turns records into lines of text."""

    @abstractmethod
    def lines(self, record: Record) -> Iterable[str]:
        """The lines to write now for this record."""

    def overdue(self, now: float) -> Iterable[str]:  # noqa: ARG002 - the arguments of those that delay lines
        """The delayed lines whose time has come."""
        return ()

    def next_due(self) -> float:
        """When to call `overdue`, in trio's seconds; infinity if no line is delayed."""
        return math.inf


class JsonLines(LineRenderer):
    """Writes each change as one JSON object on its own line."""

    def lines(self, record: Record) -> Iterable[str]:
        return (json_line(record) + "\n",)


class PlainLines(LineRenderer):
    """Writes Skaffold's sentence when a forward becomes ready. Waiting is reported only if it lasts.

    `context`: the default kube-context; only other contexts are named.
    """

    def __init__(self, context: str = "") -> None:
        self._context = context
        # By key, for what is on the board: the last lines about it, and when to report that it waits.
        self._last: dict[str, Lines] = {}
        self._waiting: dict[str, tuple[float, Lines]] = {}

    def lines(self, record: Record) -> Iterable[str]:
        key, lines = record_key(record), _sentences(record, self._context)
        if isinstance(record, ForwardRecord) and record.waits:
            due = self._waiting.get(key, (trio.current_time() + REPORT_WAIT_AFTER, ()))[0]
            self._waiting[key] = (due, lines)
            return
        self._waiting.pop(key, None)
        if isinstance(record, ForwardRecord) and is_final(record) and self._last.pop(key, None) is None:
            return  # no line ever mentioned it
        yield from self._new(key, lines)
        if is_final(record):
            self._last.pop(key, None)  # a later record with this key is about something else

    def overdue(self, now: float) -> Iterable[str]:
        for key, (due, lines) in list(self._waiting.items()):
            if due <= now:
                # Once for each wait, with the reason at that time; `status` has later reasons.
                self._waiting[key] = (math.inf, lines)
                yield from self._new(key, lines)

    def next_due(self) -> float:
        return min((due for due, _ in self._waiting.values()), default=math.inf)

    def _new(self, key: str, lines: Lines) -> Iterable[str]:
        """The lines without those that were the last ones about this forward, skip or Skaffold."""
        last = self._last.get(key, ())
        lasting = tuple(without_count(line) for line in lines)
        if lines and last != lasting:
            self._last[key] = lasting
            # If the forward still has the same address, only a new remark is printed.
            known = set(last) if lasting[0] in last else set()
            yield from (printable(line) + "\n" for line in lines if without_count(line) not in known)


def _sentences(record: Record, home: str) -> Lines:
    match record:
        case ForwardRecord():
            return _forward_sentences(record, context_suffix(record.context, home))
        case SkipRecord(over=False):
            port = f" port {record.remote_port}" if record.remote_port else ""
            namespace = f" in namespace {record.namespace}" if record.namespace else ""
            name = f"{record.resource}{port}{namespace}"
            return (f"Not forwarding {name}{context_suffix(record.context, home)}: {record.reason}",)
        case SkaffoldRecord(change="lost"):
            return (f"Skaffold: {record.reason or 'its event stream ended'}; forwards stay, waiting for it",)
        case _:
            return ()


def context_suffix(context: str, home: str) -> str:
    """Text behind a namespace that names its context, "" for the default one (`home`)."""
    return "" if context in {"", home} else f" of context {context}"


def _forward_sentences(record: ForwardRecord, where: str) -> Lines:
    name = f"{record.resource} in namespace {record.namespace}"
    port = f", remote port {record.remote_port}"
    target = f"{name}{where}{port}"
    remark = f" ({record.reason})" if record.reason else ""
    match record.state:
        case "ready":
            # Tools parse Skaffold's sentence to the end of the line, so each remark has a line of its own.
            by_name = f"also {record.gateway}" if record.gateway else ""
            remarks = (f"  {remark}" for remark in (where.strip(), record.reason, by_name) if remark)
            return (f"Port forwarding {name}{port} -> {record.url}", *remarks)
        case "listening":
            return (f"Waiting to forward {target} -> {record.url}{remark}",)
        case "waiting":
            return (f"Waiting to forward {target}{remark}",)
        case "failed":
            return (f"Cannot forward {target}: {record.reason}",)
        case _:
            return (f"Stopped forwarding {target}",)


async def next_lines(subscription: Subscription, renderer: LineRenderer) -> list[str]:
    """The next lines to write, perhaps none. Raises trio.EndOfChannel when the board has closed."""
    records: list[Record] = []
    with trio.move_on_at(renderer.next_due()):
        records = await subscription.receive()
    lines = [line for record in records for line in renderer.lines(record)]
    return [*lines, *renderer.overdue(trio.current_time())]


async def write_lines(board: Board, renderer: LineRenderer, descriptor: int) -> None:
    """Write every change to `descriptor` until the board closes or nobody reads there any more."""
    # An OSError: the reader is gone, and forwarding goes on.
    with suppress(OSError, trio.EndOfChannel):
        async with board.subscribe() as changes:
            if board.about is not None and not isinstance(renderer, JsonLines):
                await write_first_line(board.about, descriptor)
            while True:
                await _write(descriptor, await next_lines(changes, renderer))


async def write_failures(board: Board, renderer: LineRenderer, descriptor: int) -> None:
    """Write why forwards have failed, for an output that the board's end came before."""
    changes = reversed(board.history.last())
    failed = [record for record in changes if isinstance(record, ForwardRecord) and record.state == "failed"]
    with suppress(OSError):
        await _write(descriptor, [line for record in failed for line in renderer.lines(record)])


async def write_first_line(about: About, descriptor: int) -> None:
    """Write the line that identifies this portside. Raises OSError."""
    await _write(descriptor, [f"{printable(about.first_line)}\n"])


async def _write(descriptor: int, lines: list[str]) -> None:
    # In a thread, abandoned at the end: a full pipe must delay nothing but its own lines.
    if lines:
        await trio.to_thread.run_sync(write_whole, descriptor, "".join(lines).encode(), abandon_on_cancel=True)
