"""Owns what is true now, as records, and hands changes to whoever looks. Never waits for a reader.

Refuses to be asked by the data path. A reader that falls behind gets the newest record of each thing, not every one
in between.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import trio

from forwarders.counters import Counts
from watcher.board.records import ExplainRecord, ForwardRecord, PlanRecord, Record, SkaffoldRecord, SkipRecord

# For a reader that is stuck: how many things that are over it will still be told of. Others are on the board, so their
# number is bounded anyway; these would pile up for ever.
MAX_OVER = 1024


def key(record: Record) -> str:
    """What a newer record replaces."""
    match record:
        case SkaffoldRecord():
            return f"skaffold/{record.change}"
        case PlanRecord():
            return "plan"
        case _:
            return record.id


def _is_over(record: Record) -> bool:
    match record:
        case ForwardRecord():
            return record.state == "stopped"
        case SkipRecord():
            return record.over
    return False


class Subscription:
    """Changes since it was opened, newest per key. Bounded by the number of things on the board and MAX_OVER."""

    def __init__(self, known: list[Record]) -> None:
        self._pending: dict[str, Record] = {key(record): record for record in known}
        self._over: dict[str, None] = {}
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
        self._pending.pop(ident, None)
        self._over.pop(ident, None)
        self._pending[ident] = record
        if _is_over(record):
            self._over[ident] = None
            if len(self._over) > MAX_OVER:
                oldest = next(iter(self._over))
                del self._over[oldest], self._pending[oldest]
        self._arrived.set()

    async def next(self) -> list[Record]:
        """At least one record, in order. Raises trio.EndOfChannel after `close`."""
        while not self._pending:
            if self._closed:
                raise trio.EndOfChannel
            self._arrived = trio.Event()
            await self._arrived.wait()
        records = list(self._pending.values())
        self._pending.clear()
        self._over.clear()
        self._taken.set()
        return records

    async def taken(self) -> None:
        """Waits until nothing is pending."""
        while self._pending:
            self._taken = trio.Event()
            await self._taken.wait()


async def _nothing_to_explain() -> list[ExplainRecord]:
    return []


class Board:
    """`publish` is called by the one loop; everything else reads."""

    def __init__(self) -> None:
        self._forwards: dict[str, ForwardRecord] = {}
        self._skips: dict[str, SkipRecord] = {}
        self._skaffold: dict[str, SkaffoldRecord] = {}
        self._plan: PlanRecord | None = None
        self._subscriptions: set[Subscription] = set()
        # Answers the one question that is dear to answer and seldom asked: every verdict, and its rule.
        self.explain: Callable[[], Awaitable[list[ExplainRecord]]] = _nothing_to_explain
        # What each forward has carried, by id. It changes with every byte: who shows it asks, at a pace of its own.
        self.counters: Callable[[], Mapping[str, Counts]] = dict
        self.sessions: Callable[[], int] = int  # to pods, that stand

    @property
    def forwards(self) -> Mapping[str, ForwardRecord]:
        return self._forwards

    @property
    def skips(self) -> Mapping[str, SkipRecord]:
        return self._skips

    @property
    def skaffold(self) -> SkaffoldRecord | None:
        """The newest word on Skaffold."""
        return next(reversed(self._skaffold.values()), None)

    @property
    def planned(self) -> bool:
        """Whether a first plan was made, settled or not."""
        return self._plan is not None

    @property
    def settled(self) -> bool:
        """Whether the plan stands (PlanRecord)."""
        return self._plan is not None and self._plan.settled

    @property
    def readers(self) -> int:
        """How many look."""
        return len(self._subscriptions)

    @property
    def not_ready(self) -> list[ForwardRecord]:
        """The wanted forwards that lead nowhere yet."""
        return [record for record in self._forwards.values() if record.state != "ready"]

    @property
    def ready(self) -> bool:
        return self.settled and not self.not_ready

    def publish(self, record: Record) -> None:
        match record:
            case ForwardRecord():
                self._skips.pop(record.id, None)
                if _is_over(record):
                    self._forwards.pop(record.id, None)
                else:
                    self._forwards[record.id] = record
            case SkipRecord(over=True):
                if self._skips.pop(record.id, None) is None:
                    return  # a forward has taken its place
            case SkipRecord():
                self._skips[record.id] = record
            case SkaffoldRecord():
                self._skaffold.pop(record.change, None)
                self._skaffold[record.change] = record  # the newest is last
            case PlanRecord():
                self._plan = record
        for subscription in self._subscriptions:
            subscription.put(record)

    def subscribe(self) -> Subscription:
        known: list[Record] = [*self._skaffold.values(), *self._forwards.values(), *self._skips.values()]
        known += [self._plan] if self._plan else []  # last: who has it has everything
        subscription = Subscription(known)
        self._subscriptions.add(subscription)
        return subscription

    async def until_ready(self, seconds: float) -> None:
        """Waits until everything wanted is ready, but no longer than this."""
        subscription = self.subscribe()
        try:
            with trio.move_on_after(seconds):
                while not self.ready:
                    await subscription.next()
        finally:
            self.unsubscribe(subscription)

    async def handed_out(self) -> None:
        """Waits until every reader has taken what there is: what follows then replaces nothing unseen."""
        for subscription in tuple(self._subscriptions):
            await subscription.taken()

    def close(self) -> None:
        """Nothing more will be published."""
        for subscription in self._subscriptions:
            subscription.close()

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
