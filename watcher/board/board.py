"""Holds the one truth about every forward and skip, and hands each change of it to every reader.

Everything that shows forwards reads it here: table, page, lines, JSON, HTTP, metrics, the env file, `wait`, --exec and
what Skaffold is told. It never waits for a reader; what a slow one gets is decided by its subscription.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import trio
from msgspec.structs import replace

from forwarders.spec import Counts
from watcher.board.about import About
from watcher.board.changes import Thing, ended, is_over, steps
from watcher.board.records import ExplainRecord, ForwardRecord, PlanRecord, Record, SkaffoldRecord, SkipRecord
from watcher.board.subscription import Subscription


async def _nothing_to_explain() -> list[ExplainRecord]:
    return []


class Board:
    """`publish` is called by the one loop; everything else reads."""

    def __init__(self, about: About | None = None) -> None:
        self.about = about  # which portside this is the board of; None for a copy of another's
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
        """How many subscriptions are open."""
        return len(self._subscriptions)

    @property
    def not_ready(self) -> list[ForwardRecord]:
        """The wanted forwards that are not ready."""
        return [record for record in self._forwards.values() if record.state != "ready"]

    @property
    def ready(self) -> bool:
        return self.settled and not self.not_ready

    def publish(self, record: Record) -> None:
        """A forward or skip that takes another one's place under its id ends that first."""
        match record:
            case ForwardRecord() | SkipRecord():
                for step in steps(self._thing(record.id), record):
                    self._keep(step)
                    self._tell(step)
                return
            case SkaffoldRecord():
                self._skaffold.pop(record.change, None)
                self._skaffold[record.change] = record  # the newest is last
            case PlanRecord():
                self._plan = record
        self._tell(record)

    def state(self, record: Thing) -> None:
        """Publish `record` unless it says what stands already."""
        before = self._thing(record.id)
        if before is None or replace(record, time=before.time) != before:
            self.publish(record)

    def end(self, ident: str, time: str) -> None:
        """Whatever stands under this id is no more."""
        if (thing := self._thing(ident)) is not None:
            self.publish(ended(thing, time))

    def _thing(self, ident: str) -> Thing | None:
        return self._forwards.get(ident) or self._skips.get(ident)

    def _keep(self, thing: Thing) -> None:
        match thing:
            case ForwardRecord():
                if is_over(thing):
                    self._forwards.pop(thing.id, None)
                else:
                    self._forwards[thing.id] = thing
            case SkipRecord():
                if is_over(thing):
                    self._skips.pop(thing.id, None)
                else:
                    self._skips[thing.id] = thing

    def _tell(self, record: Record) -> None:
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
        """Waits until every reader has taken what is pending."""
        for subscription in tuple(self._subscriptions):
            await subscription.taken()

    def close(self) -> None:
        """Nothing more will be published."""
        for subscription in self._subscriptions:
            subscription.close()

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
