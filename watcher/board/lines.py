"""Owns the line outputs: Skaffold's own sentences for people and pipes, JSON lines for programs.

Refuses to wait on the data path: a stuck stdout only makes the lines fewer (see board), never a forward slower.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import trio

from forwarders.dial_reasons import without_count
from forwarders.system.terminals import write_whole
from watcher.board.about import About
from watcher.board.board import Board
from watcher.board.changes import is_over, key
from watcher.board.records import ForwardRecord, Record, SkaffoldRecord, SkipRecord
from watcher.board.subscription import Subscription
from watcher.board.text import json_line, printable

# What hinders a forward for less than this is nothing to read about.
WAITING_IS_SAID_AFTER = 1.0

Lines = tuple[str, ...]


class Renderer(Protocol):
    """Records to lines of text."""

    def lines(self, record: Record) -> Iterable[str]:
        """What to write at once."""

    def overdue(self, now: float) -> Iterable[str]:
        """What has waited long enough to be said."""

    def next_due(self) -> float:
        """When to ask for `overdue`, in trio's seconds; infinity if nothing waits."""


class JsonLines:
    """One object a line, each change as it comes."""

    def lines(self, record: Record) -> Iterable[str]:
        return (json_line(record) + "\n",)

    def overdue(self, now: float) -> Iterable[str]:  # noqa: ARG002 - nothing ever waits
        return ()

    def next_due(self) -> float:
        return math.inf


class PlainLines:
    """Skaffold's sentence whenever a forward leads somewhere; what hinders it only where that lasts.

    `context`: the default kube-context; only the others are named.
    """

    def __init__(self, context: str = "") -> None:
        self._context = context
        # By id, for what is on the board: what was said of it last, and when a wait is to be said.
        self._said: dict[str, Lines] = {}
        self._waiting: dict[str, tuple[float, Lines]] = {}

    def lines(self, record: Record) -> Iterable[str]:
        ident, lines = key(record), _sentences(record, self._context)
        state = record.state if isinstance(record, ForwardRecord) else ""
        if state in {"waiting", "listening"}:
            due = self._waiting.get(ident, (trio.current_time() + WAITING_IS_SAID_AFTER, ()))[0]
            self._waiting[ident] = (due, lines)
            return
        self._waiting.pop(ident, None)
        if state == "stopped" and self._said.pop(ident, None) is None:
            return  # it never led anywhere, and nobody was told that it would
        yield from self._say(ident, lines)
        if is_over(record):
            self._said.pop(ident, None)  # what comes under this id later is another thing

    def overdue(self, now: float) -> Iterable[str]:
        for ident, (due, lines) in list(self._waiting.items()):
            if due <= now:
                # Said once a wait, with the reason of that moment; a later reason is in `status`.
                self._waiting[ident] = (math.inf, lines)
                yield from self._say(ident, lines)

    def next_due(self) -> float:
        return min((due for due, _ in self._waiting.values()), default=math.inf)

    def _say(self, ident: str, lines: Lines) -> Iterable[str]:
        said = self._said.get(ident, ())
        lasting = tuple(without_count(line) for line in lines)
        if lines and said != lasting:
            self._said[ident] = lasting
            # Where the forward still leads to the same place, only the remark is new.
            told = set(said) if lasting[0] in said else set()
            yield from (printable(line) + "\n" for line in lines if without_count(line) not in told)


def _sentences(record: Record, home: str) -> Lines:
    match record:
        case ForwardRecord():
            return _forward_sentences(record, elsewhere(record.context, home))
        case SkipRecord(over=False):
            where = elsewhere(record.context, home)
            return (f"Not forwarding {_name(record)}{where}: {record.reason}",)
        case SkaffoldRecord(change="lost"):
            return (f"Skaffold: {record.reason or 'its event stream ended'}; forwards stay, waiting for it",)
        case _:
            return ()


def _name(record: SkipRecord) -> str:
    port = f" port {record.remote_port}" if record.remote_port else ""
    where = f" in namespace {record.namespace}" if record.namespace else ""
    return f"{record.resource_type}/{record.resource_name}{port}{where}"


def elsewhere(context: str, home: str) -> str:
    """How a context other than the default one is named behind a namespace."""
    return "" if context in {"", home} else f" of context {context}"


def _forward_sentences(record: ForwardRecord, where: str) -> Lines:
    name = f"{record.resource_type}/{record.resource_name} in namespace {record.namespace}"
    port = f", remote port {record.remote_port}"
    target = f"{name}{where}{port}"
    remark = f" ({record.reason})" if record.reason else ""
    match record.state:
        case "ready":
            # Tools read Skaffold's sentence up to its end: a remark has a line of its own.
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


async def next_lines(subscription: Subscription, renderer: Renderer) -> list[str]:
    """What is to be written next, perhaps nothing. Raises trio.EndOfChannel when the board has closed."""
    records: list[Record] = []
    with trio.move_on_at(renderer.next_due()):
        records = await subscription.next()
    lines = [line for record in records for line in renderer.lines(record)]
    return [*lines, *renderer.overdue(trio.current_time())]


async def write_lines(board: Board, renderer: Renderer, descriptor: int) -> None:
    """Write every change to `descriptor`, flushed at once, until the board closes or the reader is gone."""
    subscription = board.subscribe()
    try:
        if board.about is not None and not isinstance(renderer, JsonLines):
            await introduce(board.about, descriptor)
        while True:
            if lines := await next_lines(subscription, renderer):
                # In a thread of its own, left behind at the end: a full pipe must hold nothing but its own lines.
                await trio.to_thread.run_sync(write_whole, descriptor, "".join(lines).encode(), abandon_on_cancel=True)
    except (OSError, trio.EndOfChannel):
        return  # nobody reads any more, and forwarding goes on; or all is said
    finally:
        board.unsubscribe(subscription)


async def introduce(about: About, descriptor: int) -> None:
    """Write the first line: which portside this is. Raises OSError."""
    line = f"{printable(about.first_line)}\n".encode()
    await trio.to_thread.run_sync(write_whole, descriptor, line, abandon_on_cancel=True)
