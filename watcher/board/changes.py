"""Orders the changes of the board, queues them for each of its readers, and remembers the last ones.

An id is either a forward or a skip. A record that replaces one of the other kind ends that one first. A slow reader may
miss intermediate states of a forward. It never misses the end of a forward or skip that it was told of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio
from msgspec.structs import replace

from forwarders.spec import State
from forwarders.tasks import Notifier
from watcher.board.records import ForwardRecord, PlanRecord, Record, SkaffoldRecord, SkipRecord

BoardEntry = ForwardRecord | SkipRecord

# A bound for a reader that is stuck: ends of entries that it was never told of. Everything else that is pending is
# bounded by the number of entries on the board and of entries that the reader was told of.
MAX_UNTOLD_ENDS = 1024
# Changes to keep overall, for one forward or skip, and the number of those with a history of their own. A history is
# for people, who look at the last minutes.
OVERALL, FOR_EACH, REMEMBERED = 200, 20, 1000


def record_key(record: Record) -> str:
    """The key of the record's subject: a newer record with the same key replaces this one."""
    match record:
        case SkaffoldRecord():
            return f"skaffold/{record.change}"
        case PlanRecord():
            return "plan"
        case _:
            return record.id


def is_final(record: Record) -> bool:
    """Whether the record is the last one of its forward or skip."""
    match record:
        case ForwardRecord():
            return record.state == State.STOPPED.value
        case SkipRecord():
            return record.over
    return False


def final_record(entry: BoardEntry, time: str) -> BoardEntry:
    """The record that ends `entry`."""
    match entry:
        case ForwardRecord():
            return replace(entry, time=time, state=State.STOPPED.value, url="", pod="", pod_port=0, reason="")
        case SkipRecord():
            return replace(entry, time=time, over=True)


def transitions(before: BoardEntry | None, record: BoardEntry) -> tuple[BoardEntry, ...]:
    """The records to publish so that `record` replaces `before`; () if nothing changes."""
    if before is None:
        return () if isinstance(record, SkipRecord) and record.over else (record,)
    match before, record:
        case SkipRecord(), SkipRecord():
            return (record,)
        case SkipRecord(), ForwardRecord() if is_final(record):
            return ()  # it ended when the skip replaced it
        case ForwardRecord(), SkipRecord(over=True):
            return ()  # it ended when the forward replaced it
        case ForwardRecord(), ForwardRecord() if is_final(record) or _is_same_forward(before, record):
            return (record,)
    return final_record(before, record.time), record


def _is_same_forward(before: ForwardRecord, after: ForwardRecord) -> bool:
    """Whether both are one forward: once a forward has a local port, another port means a new forward."""
    same_port = before.local_port in {0, after.local_port}
    return same_port and before.local_address == after.local_address


class Subscription(trio.abc.ReceiveChannel[list[Record]]):
    """The changes that one reader has not taken yet, as a channel that ends with the board; closing it unsubscribes.

    For each key: the final record of the entry that the reader knows, if that ended, and then the newest record.
    """

    def __init__(self, current: list[Record], unsubscribe: Callable[[Subscription], None]) -> None:
        self._unsubscribe = unsubscribe
        self._pending: dict[str, tuple[Record, ...]] = {record_key(record): (record,) for record in current}
        self._known: set[str] = set()  # ids that exist, as far as the reader was told
        self._untold_ends: dict[str, None] = {}
        self._arrived = Notifier()
        self._drained = Notifier()
        self._over = False

    async def aclose(self) -> None:
        self._unsubscribe(self)

    def end(self) -> None:
        """Let the reader take what is pending, and then raise EndOfChannel to it."""
        self._over = True
        self._arrived.fire()

    def put(self, record: Record) -> None:
        # Re-inserted at the end, so that records leave in the order of their last change.
        key = record_key(record)
        before = self._pending.pop(key, ())
        self._untold_ends.pop(key, None)
        end = before[:1] if before and is_final(before[0]) else ()
        if not is_final(record):
            self._pending[key] = (*end, record)
        elif key in self._known:
            self._pending[key] = end or (record,)
        else:
            self._pending[key] = (record,)
            self._untold_ends[key] = None
            if len(self._untold_ends) > MAX_UNTOLD_ENDS:
                oldest = next(iter(self._untold_ends))
                del self._untold_ends[oldest], self._pending[oldest]
        self._arrived.fire()

    async def receive(self) -> list[Record]:
        """Wait for changes; returns at least one record, in order. Raises trio.EndOfChannel after `end`."""
        while not self._pending:
            if self._over:
                raise trio.EndOfChannel
            await self._arrived.wait()
        records = [record for pending in self._pending.values() for record in pending]
        self._pending.clear()
        self._untold_ends.clear()
        for record in records:
            if is_final(record):
                self._known.discard(record_key(record))
            elif isinstance(record, ForwardRecord | SkipRecord):
                self._known.add(record.id)
        self._drained.fire()
        return records

    async def drained(self) -> None:
        """Waits until the reader has taken everything."""
        while self._pending:
            await self._drained.wait()


class History:
    """Remembers the last changes, of everything and of each forward or skip."""

    def __init__(self) -> None:
        self._overall: deque[Record] = deque(maxlen=OVERALL)
        self._for_each: dict[str, deque[Record]] = {}

    def add(self, record: Record) -> None:
        if isinstance(record, PlanRecord):
            return
        self._overall.appendleft(record)
        if isinstance(record, ForwardRecord | SkipRecord):
            # Re-inserted at the end, so that the first one is the one whose last change is the oldest.
            changes = self._for_each.pop(record.id, None) or deque(maxlen=FOR_EACH)
            changes.appendleft(record)
            self._for_each[record.id] = changes
            if len(self._for_each) > REMEMBERED:
                del self._for_each[next(iter(self._for_each))]

    def last(self, ident: str = "") -> list[Record]:
        """The last changes of this forward or skip ("": of everything), the newest first."""
        return list(self._for_each.get(ident, ()) if ident else self._overall)
