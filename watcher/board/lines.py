"""Owns the line outputs: Skaffold's own sentences for people and pipes, JSON lines for programs.

Refuses to wait on the data path: a stuck stdout only makes the lines fewer (see board), never a forward slower.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Protocol

import msgspec
import trio

from watcher.board.board import Board, key
from watcher.board.records import ForwardRecord, Record, SkaffoldRecord, SkipRecord

# What hinders a forward for less than this is nothing to read about.
WAITING_IS_SAID_AFTER = 1.0

_HARMFUL = dict.fromkeys((*range(32), *range(127, 160)), "�")


def printable(text: str) -> str:
    """`text` without control characters: nothing from a cluster may steer a terminal."""
    return text.translate(_HARMFUL)


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
        return (msgspec.json.encode(record).decode() + "\n",)

    def overdue(self, now: float) -> Iterable[str]:  # noqa: ARG002 - nothing ever waits
        return ()

    def next_due(self) -> float:
        return math.inf


class PlainLines:
    """Skaffold's sentence whenever a forward leads somewhere; what hinders it only where that lasts."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        self._waiting: dict[str, tuple[float, str]] = {}

    def lines(self, record: Record) -> Iterable[str]:
        ident = key(record)
        line = _sentence(record)
        if getattr(record, "state", "") in {"waiting", "listening"}:
            since = self._waiting.get(ident, (trio.current_time(), ""))[0]
            self._waiting[ident] = (since, line)
            return ()
        self._waiting.pop(ident, None)
        return self._say(ident, line)

    def overdue(self, now: float) -> Iterable[str]:
        due = [(ident, line) for ident, (since, line) in self._waiting.items() if now - since >= WAITING_IS_SAID_AFTER]
        for ident, line in due:
            # Said once a wait, with the reason of that moment; a later reason is in `status`.
            self._waiting[ident] = (math.inf, line)
            yield from self._say(ident, line)

    def next_due(self) -> float:
        return min((since for since, _ in self._waiting.values()), default=math.inf) + WAITING_IS_SAID_AFTER

    def _say(self, ident: str, line: str) -> Iterable[str]:
        if not line or self._said.get(ident) == line:
            return ()
        self._said[ident] = line
        return (printable(line) + "\n",)


def _sentence(record: Record) -> str:
    match record:
        case ForwardRecord():
            return _forward_sentence(record)
        case SkipRecord():
            return f"Not forwarding {_name(record)}: {record.reason}"
        case SkaffoldRecord(change="lost"):
            return f"Skaffold: {record.reason or 'its event stream ended'}; forwards stay, waiting for it"
        case _:
            return ""


def _name(record: ForwardRecord | SkipRecord) -> str:
    port = f" port {record.remote_port}" if record.remote_port else ""
    return f"{record.resource_type}/{record.resource_name}{port} in namespace {record.namespace}"


def _forward_sentence(record: ForwardRecord) -> str:
    name = f"{record.resource_type}/{record.resource_name} in namespace {record.namespace}"
    where = f"{name}, remote port {record.remote_port} -> {record.url}"
    remark = f" ({record.reason})" if record.reason else ""
    match record.state:
        case "ready":
            return f"Port forwarding {where}{remark}"
        case "listening":
            return f"Waiting to forward {where}{remark}"
        case "failed":
            return f"Cannot forward {name}, remote port {record.remote_port}: {record.reason}"
        case "stopped":
            return f"Stopped forwarding {name}, remote port {record.remote_port}"
        case _:
            return ""


async def write_lines(board: Board, renderer: Renderer, descriptor: int) -> None:
    """Write every change to `descriptor`, flushed at once, until the board closes or the reader is gone."""
    subscription = board.subscribe()
    try:
        while True:
            records: list[Record] = []
            with trio.move_on_at(renderer.next_due()):
                records = await subscription.next()
            lines = [line for record in records for line in renderer.lines(record)]
            lines += renderer.overdue(trio.current_time())
            if lines:
                # In a thread of its own, left behind at the end: a full pipe must hold nothing but its own lines.
                await trio.to_thread.run_sync(_write, descriptor, "".join(lines).encode(), abandon_on_cancel=True)
    except (OSError, trio.EndOfChannel):
        return  # nobody reads any more, and forwarding goes on; or all is said
    finally:
        board.unsubscribe(subscription)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
