"""Holds the current state of every forward and skip, and sends each change to every reader.

The board is the only owner of this state. Table, page, lines, JSON, HTTP, metrics, the env file, `wait`, --exec and the
events that Skaffold gets read it here. The board never waits for a reader; a subscription keeps what a slow one misses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

from msgspec import Struct, field
from msgspec.structs import replace

from forwarders.spec import Counts
from watcher.board.changes import BoardEntry, History, Subscription, final_record, is_final, transitions
from watcher.board.records import ExplainRecord, ForwardRecord, PlanRecord, Record, SkaffoldRecord, SkipRecord
from watcher.board.runtime_files import About
from watcher.errors import WatcherError

Confirming = Callable[[str, int, Callable[[], None]], AbstractContextManager[None]]


async def _no_explanations() -> list[ExplainRecord]:
    return []


async def _no_log(record: ForwardRecord, lines: int) -> str:  # noqa: ARG001 - the arguments of those that read logs
    raise WatcherError("there is no cluster to ask")


class Board(Struct, eq=False):
    """Holds all current records. Only the loop and Skaffold's attachment publish; everything else reads.

    `about`: the portside that this is the board of, None for a copy of another portside's board.
    `explain`, `counters`, `sessions` answer on demand: every verdict with its rule is expensive to compute, and what
    each forward has carried changes with every byte, so each reader asks at its own pace.
    `confirming(id, client's port, callback)` calls back when the runtime has the connection (Connections.confirming).
    `retry` tries a failed forward (its id) again and returns why not, or "". `pod_log` reads the last lines of the log
    of the pod that serves a forward; it raises WatcherError.
    """

    about: About | None = None
    explain: Callable[[], Awaitable[list[ExplainRecord]]] = _no_explanations
    counters: Callable[[], Mapping[str, Counts]] = dict
    sessions: Callable[[], int] = int
    confirming: Confirming = lambda *_: nullcontext()
    retry: Callable[[str], str] = lambda _: "nothing is forwarded here"
    pod_log: Callable[[ForwardRecord, int], Awaitable[str]] = _no_log
    history: History = field(default_factory=History)
    _forwards: dict[str, ForwardRecord] = field(default_factory=dict)
    _skips: dict[str, SkipRecord] = field(default_factory=dict)
    _skaffold: dict[str, SkaffoldRecord] = field(default_factory=dict)
    _plan: PlanRecord | None = None
    _subscriptions: set[Subscription] = field(default_factory=set)
    closed: bool = False

    @property
    def forwards(self) -> Mapping[str, ForwardRecord]:
        return self._forwards

    @property
    def skips(self) -> Mapping[str, SkipRecord]:
        return self._skips

    @property
    def skaffold(self) -> SkaffoldRecord | None:
        """The newest record about Skaffold."""
        return next(reversed(self._skaffold.values()), None)

    @property
    def planned(self) -> bool:
        """Whether a plan has been made, even an incomplete one."""
        return self._plan is not None

    @property
    def settled(self) -> bool:
        """Whether the lists of the plan are complete and, beside Skaffold, a deploy of this run has ended."""
        return self._plan is not None and self._plan.settled

    @property
    def not_ready(self) -> list[ForwardRecord]:
        """The wanted forwards that are not ready."""
        return [record for record in self._forwards.values() if record.state != "ready"]

    @property
    def ready(self) -> bool:
        return self.settled and not self.not_ready

    def publish(self, record: Record) -> None:
        """Store `record` and send it to every reader. A forward or skip with the same id is ended first if need be."""
        match record:
            case ForwardRecord() | SkipRecord():
                for step in transitions(self._entry(record.id), record):
                    self._store(step)
                    self._send(step)
                return
            case SkaffoldRecord():
                self._skaffold.pop(record.change, None)
                self._skaffold[record.change] = record  # the newest is last
            case PlanRecord():
                self._plan = record
        self._send(record)

    def publish_if_changed(self, record: BoardEntry) -> None:
        """Publish `record` unless only its time is new."""
        before = self._entry(record.id)
        if before is None or replace(record, time=before.time) != before:
            self.publish(record)

    def publish_end(self, ident: str, time: str) -> None:
        """End the forward or skip with this id, if there is one."""
        if (entry := self._entry(ident)) is not None:
            self.publish(final_record(entry, time))

    def _entry(self, ident: str) -> BoardEntry | None:
        return self._forwards.get(ident) or self._skips.get(ident)

    def _store(self, entry: BoardEntry) -> None:
        if is_final(entry):
            self._forwards.pop(entry.id, None)
            self._skips.pop(entry.id, None)
        elif isinstance(entry, ForwardRecord):
            self._forwards[entry.id] = entry
        else:
            self._skips[entry.id] = entry

    def _send(self, record: Record) -> None:
        self.history.add(record)
        for subscription in self._subscriptions:
            subscription.put(record)

    def subscribe(self) -> Subscription:
        """A new reader's queue; it starts with everything that is true now, and ends there once the board is closed."""
        current: list[Record] = [*self._skaffold.values(), *self._forwards.values(), *self._skips.values()]
        current += [self._plan] if self._plan else []  # last: a reader that has it has everything
        subscription = Subscription(current, self._subscriptions.discard)
        self._subscriptions.add(subscription)
        if self.closed:
            subscription.end()
        return subscription

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until `condition()` is true. It is called again after each change."""
        async with self.subscribe() as changes:
            while not condition():
                await changes.receive()

    async def drained(self) -> None:
        """Waits until every reader has taken what is pending."""
        for subscription in tuple(self._subscriptions):
            await subscription.drained()

    def close(self) -> None:
        """End all subscriptions: each reader gets what is pending, then the end. Publish nothing afterwards."""
        self.closed = True
        for subscription in self._subscriptions:
            subscription.end()
