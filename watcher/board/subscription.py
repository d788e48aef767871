"""Keeps the changes that one reader of the board has not taken yet.

A slow reader may miss intermediate states of a forward. It never misses the end of a forward or skip that it was told
of: the end stays pending, before whatever has taken the place of what ended.
"""

from __future__ import annotations

import trio

from watcher.board.changes import is_over, key
from watcher.board.records import ForwardRecord, Record, SkipRecord

# Ends of things that the reader was never told of, for a reader that is stuck. Everything else that is pending is
# bounded by what stands on the board and what the reader was told of; these would pile up for ever.
MAX_UNTOLD_ENDS = 1024


class Subscription:
    """Changes since it was opened: for each key the end of what the reader knows, if it has ended, and the newest."""

    def __init__(self, known: list[Record]) -> None:
        self._pending: dict[str, tuple[Record, ...]] = {key(record): (record,) for record in known}
        self._told: set[str] = set()  # ids that stand, as far as the reader knows
        self._untold_ends: dict[str, None] = {}
        self._arrived = trio.Event()
        self._taken = trio.Event()
        self._closed = False

    def close(self) -> None:
        """What is pending is still handed out, then EndOfChannel."""
        self._closed = True
        self._arrived.set()

    def put(self, record: Record) -> None:
        # Re-inserted at the end, so that records leave in the order of their last change.
        ident = key(record)
        before = self._pending.pop(ident, ())
        self._untold_ends.pop(ident, None)
        end = before[:1] if before and is_over(before[0]) else ()
        if not is_over(record):
            self._pending[ident] = (*end, record)
        elif ident in self._told:
            self._pending[ident] = end or (record,)
        else:
            self._pending[ident] = (record,)
            self._untold_ends[ident] = None
            self._drop_untold_ends()
        self._arrived.set()

    async def next(self) -> list[Record]:
        """At least one record, in order. Raises trio.EndOfChannel after `close`."""
        while not self._pending:
            if self._closed:
                raise trio.EndOfChannel
            self._arrived = trio.Event()
            await self._arrived.wait()
        records = [record for pending in self._pending.values() for record in pending]
        self._pending.clear()
        self._untold_ends.clear()
        for record in records:
            self._remember(record)
        self._taken.set()
        return records

    async def taken(self) -> None:
        """Waits until nothing is pending."""
        while self._pending:
            self._taken = trio.Event()
            await self._taken.wait()

    def _remember(self, record: Record) -> None:
        if is_over(record):
            self._told.discard(key(record))
        elif isinstance(record, ForwardRecord | SkipRecord):
            self._told.add(record.id)

    def _drop_untold_ends(self) -> None:
        while len(self._untold_ends) > MAX_UNTOLD_ENDS:
            oldest = next(iter(self._untold_ends))
            del self._untold_ends[oldest], self._pending[oldest]
