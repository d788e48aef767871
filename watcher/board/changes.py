"""Decides how one thing replaces another on the board: what ends, and with which record. Pure.

An id stands for a forward or for a skip, never for both. Whatever takes its place ends it first.
"""

from __future__ import annotations

from msgspec.structs import replace

from forwarders.spec import State
from watcher.board.records import ForwardRecord, PlanRecord, Record, SkaffoldRecord, SkipRecord

Thing = ForwardRecord | SkipRecord


def key(record: Record) -> str:
    """What a newer record replaces."""
    match record:
        case SkaffoldRecord():
            return f"skaffold/{record.change}"
        case PlanRecord():
            return "plan"
        case _:
            return record.id


def is_over(record: Record) -> bool:
    """Whether the record is the last one of its forward or skip."""
    match record:
        case ForwardRecord():
            return record.state == State.STOPPED.value
        case SkipRecord():
            return record.over
    return False


def ended(thing: Thing, time: str) -> Thing:
    """The last record of `thing`."""
    match thing:
        case ForwardRecord():
            return replace(thing, time=time, state=State.STOPPED.value, url="", pod="", pod_port=0, reason="")
        case SkipRecord():
            return replace(thing, time=time, over=True)


def steps(before: Thing | None, record: Thing) -> tuple[Thing, ...]:
    """The changes from `before`, which stands under this id, to `record`; () where nothing changes."""
    if before is None:
        return () if isinstance(record, SkipRecord) and record.over else (record,)
    match before, record:
        case SkipRecord(), SkipRecord():
            return (record,)
        case SkipRecord(), ForwardRecord() if is_over(record):
            return ()  # it ended when the skip took its place
        case ForwardRecord(), SkipRecord(over=True):
            return ()  # it ended when the forward took its place
        case ForwardRecord(), ForwardRecord() if is_over(record) or _same_life(before, record):
            return (record,)
    return ended(before, record.time), record


def _same_life(before: ForwardRecord, after: ForwardRecord) -> bool:
    """A forward keeps the local port that it has: without it, or at another one, it is a new forward."""
    same_port = before.local_port in {0, after.local_port}
    return same_port and before.local_address == after.local_address
