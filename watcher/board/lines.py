"""Owns the line outputs: Skaffold's own sentences for people and pipes, JSON lines for programs.

Refuses to wait on the data path: a stuck stdout only makes the lines fewer (see board), never a forward slower.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import msgspec
import trio

from watcher.board.board import Board
from watcher.board.records import ForwardRecord, Record, SkaffoldRecord, SkipRecord

_HARMFUL = dict.fromkeys((*range(32), *range(127, 160)), "�")


def printable(text: str) -> str:
    """`text` without control characters: nothing from a cluster may steer a terminal."""
    return text.translate(_HARMFUL)


def json_line(record: Record) -> str:
    return msgspec.json.encode(record).decode() + "\n"


class PlainLines:
    """Skaffold's sentence whenever a forward leads somewhere, and one line for what hinders it."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def lines(self, record: Record) -> Iterable[str]:
        line = _sentence(record)
        ident = "skaffold" if isinstance(record, SkaffoldRecord) else record.id
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


async def write_lines(board: Board, render: Callable[[Record], Iterable[str]], descriptor: int) -> None:
    """Write every change to `descriptor`, flushed at once, until the board closes or the reader is gone."""
    subscription = board.subscribe()
    try:
        while True:
            text = "".join(line for record in await subscription.next() for line in render(record))
            # In a thread of its own, left behind at the end: a full pipe must hold nothing but its own lines.
            await trio.to_thread.run_sync(_write, descriptor, text.encode(), abandon_on_cancel=True)
    except (OSError, trio.EndOfChannel):
        return  # nobody reads any more, and forwarding goes on; or all is said
    finally:
        board.unsubscribe(subscription)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
