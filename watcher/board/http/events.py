"""Owns the server-sent events: each change as it comes, and what forwards carry for those who ask for that too.

Refuses to be waited for: a reader that falls behind is told the newest of each thing (see board). Counters are looked
at by the reader's own clock, and only while it reads.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

import trio

from forwarders.spec import Counts
from watcher.board.board import Board
from watcher.board.changes import is_over
from watcher.board.records import ForwardRecord, Record, counted
from watcher.board.text import json_line

# They change with every byte; people see no more than this.
COUNTERS_EVERY = 1.0
# A comment for a reader that hears nothing else, so that one that has vanished is noticed.
HEARTBEAT = 15.0


async def changes(board: Board) -> AsyncGenerator[bytes]:
    """What is true now, then every change; ends with the board."""
    async with aclosing(_batches(board, HEARTBEAT)) as batches:
        async for records in batches:
            yield _events(records)


async def changes_with_counters(board: Board) -> AsyncGenerator[bytes]:
    """The same, forwards with their counters; those that have carried something are told again, once a second."""
    shown: dict[str, Counts] = {}
    standing: dict[str, ForwardRecord] = {}  # as this reader was told
    look = trio.current_time()
    async with aclosing(_batches(board, COUNTERS_EVERY)) as batches:
        async for records in batches:
            counts = board.counters()
            for record in records:
                _follow(standing, record)
            if trio.current_time() >= look:
                look = trio.current_time() + COUNTERS_EVERY
                moved = {ident for ident, count in counts.items() if shown.get(ident) != count}
                told = {record.id for record in records if isinstance(record, ForwardRecord)}
                records += [standing[ident] for ident in moved - told if ident in standing]
                shown = dict(counts)
            yield _events(
                counted(record, counts.get(record.id)) if isinstance(record, ForwardRecord) else record
                for record in records
            )


def _follow(standing: dict[str, ForwardRecord], record: Record) -> None:
    if isinstance(record, ForwardRecord):
        if is_over(record):
            standing.pop(record.id, None)
        else:
            standing[record.id] = record


async def _batches(board: Board, every: float) -> AsyncGenerator[list[Record]]:
    """Changes as they come, [] after so many seconds without one."""
    subscription = board.subscribe()
    try:
        while True:
            records: list[Record] = []
            with trio.move_on_after(every):
                records = await subscription.next()
            yield records
    except trio.EndOfChannel:
        return
    finally:
        board.unsubscribe(subscription)


def _events(records: Iterable[Record]) -> bytes:
    return b"".join(b"data: " + json_line(record).encode() + b"\n\n" for record in records) or b": \n\n"
