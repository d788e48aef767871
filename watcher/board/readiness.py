"""Decides whether requested forwards are ready and what was saved is deployed, and whether `forward` can give up.

A failed forward is final only once the plan is settled: before that a deploy may still repair it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

import httpx
import msgspec
from msgspec import Struct

from forwarders.spec import State
from watcher.board.board import Board
from watcher.board.records import ExplainRecord, ForwardRecord, Record, SkaffoldRecord, SkipRecord
from watcher.board.runtime_files import Instance
from watcher.config.entries import CONTAINER, checked_namespace, name_problem
from watcher.config.targets import parse_target, remote_port
from watcher.errors import ConfigError
from watcher.plan.plan import Plan
from watcher.plan.verdicts import PlannedForward

NOT_SETTLED = "the first deploy or the first lists are not complete"

NOTHING = "nothing is forwarded"

# Seconds to connect to another portside. It accepts from the start, but answers only after its first plan, which may
# have to ask a cluster: reading has no deadline.
_CONNECT = 5.0


class ForwardQuery(Struct, frozen=True):
    """Forwards that a user named. `word`: TYPE/NAME[:PORT] as written; `port` "" and `namespace` "" match any."""

    word: str
    kind: str
    name: str
    port: str
    namespace: str

    def matches(self, record: ForwardRecord | SkipRecord) -> bool:
        return (
            self.names(record)
            and self.port in {"", str(record.remote_port)}
            and self.namespace in {"", record.namespace}
        )

    def names(self, record: ForwardRecord | SkipRecord | ExplainRecord) -> bool:
        """Whether the record is about this resource, whatever its port: a verdict may be about all ports."""
        return record.resource_type.lower() == self.kind and record.resource_name == self.name


class Readiness(Struct, frozen=True):
    """Whether requested forwards are ready. `missing`: a line for what is not; `hopeless`: waiting cannot help."""

    missing: tuple[str, ...]
    hopeless: bool = False

    @property
    def ready(self) -> bool:
        return not self.missing


def parse_forward_query(word: str, namespace: str = "") -> ForwardQuery:
    """Parse TYPE/NAME[:PORT] with kubectl's types and short forms, or a pod's bare name. Raises ConfigError."""
    target, colon, port = word.partition(":")
    checked_namespace(namespace, "--namespace")
    resource_type, _, name = target.rpartition("/")
    if resource_type.lower() == CONTAINER:
        kind = CONTAINER
        if problem := name_problem(name, namespace):
            raise ConfigError(f"{word!r}: {problem}")
    else:
        kind, name = parse_target(target)
    return ForwardQuery(word, kind, name, str(remote_port(port, word)) if colon else "", namespace)


def readiness(boards: Iterable[Board], queries: Sequence[ForwardQuery] = ()) -> Readiness:
    """Whether all forwards on all boards are ready, as /readyz; with queries, all forwards that match one."""
    boards = concerned = list(boards)
    forwards = [(board, record) for board in boards for record in board.forwards.values()]
    if queries:
        forwards = [(board, record) for board, record in forwards if any(query.matches(record) for query in queries)]
        concerned = [board for board in boards if any(other is board for other, _ in forwards)]
    absent = [query for query in queries if not any(query.matches(record) for _, record in forwards)]
    skips = [record for board in boards for record in board.skips.values()]
    missing = [
        *(NOT_SETTLED for board in concerned if not board.settled),
        *(_not_ready(record) for _, record in forwards if record.state != "ready"),
        *(_absent(query, skips) for query in absent),
    ]
    hopeless = any(board.settled and record.state == "failed" for board, record in forwards)
    return Readiness(tuple(dict.fromkeys(missing)), hopeless)


def command_readiness(board: Board) -> Readiness:
    """Whether the command of --exec may start: every forward is ready, and `forward` skips none of its targets."""
    now = readiness([board])
    refused = [skip for skip in board.skips.values() if skip.source == "direct"]
    skips = refused if board.forwards else [*board.skips.values()]
    missing = [*now.missing, *(_not_forwarded(skip) for skip in skips)]
    if board.settled and not board.forwards:
        missing.insert(0, NOTHING)
    return Readiness(tuple(dict.fromkeys(missing)), now.hopeless or (board.settled and bool(refused)))


def _not_ready(record: ForwardRecord) -> str:
    reason = f": {record.reason}" if record.reason else ""
    return f"{record.state} {record.resource} port {record.remote_port} in namespace {record.namespace}{reason}"


def _not_forwarded(skip: SkipRecord) -> str:
    port = f" port {skip.remote_port}" if skip.remote_port else ""
    return f"{skip.resource}{port} is not forwarded: {skip.reason}"


def _absent(query: ForwardQuery, skips: Iterable[SkipRecord]) -> str:
    reasons = [skip.reason for skip in skips if query.matches(skip)]
    return f"{query.word} is not forwarded{f': {reasons[0]}' if reasons else ''}"


class IterationState(Struct, frozen=True):
    """How far Skaffold's iteration is. `pending`: what it still does, or "". `error`: why it failed, or "".

    `until`: when `pending` ends without any event. `idle`: Skaffold has done nothing since the question.
    """

    pending: str = ""
    error: str = ""
    until: float = math.inf
    idle: bool = False


class SavedIteration:
    """Decides when everything that was saved before a question is deployed, from the records of one Skaffold.

    Skaffold notices a save about 1 s later, since it collects changes, and a save during a dev loop only after that
    loop. So an iteration that began after the question includes the save. If none begins within `notice_within` after
    the question, or after the loop that was running then, Skaffold has nothing more to deploy.
    `asked`: the time of the question, as in records. Call `state` after each record, and at the time that it returned.
    """

    def __init__(self, asked: str, notice_within: float) -> None:
        self._asked = asked
        self._notice_within = notice_within
        self._first: SkaffoldRecord | None = None  # the first one that is attached
        self._lost = False  # since then
        self._noticed = False
        self._idle = True
        self._idle_since = math.inf

    def state(self, record: SkaffoldRecord | None, now: float) -> IterationState:
        """How far the iteration is now. `record`: the newest of this Skaffold, None before there is one."""
        if record is None or not record.attached:
            return self._without_skaffold(record)
        first = self._first = self._first or record
        # Another Skaffold began after the question. A reload, which has a new run id too, is noticed by its iteration.
        restarted = self._lost and record.run_id != first.run_id
        began_later = record.iteration_began > self._asked
        self._noticed = self._noticed or restarted or began_later or record.iteration != first.iteration
        self._idle = self._idle and not self._noticed and record.phase == "idle"
        if record.phase != "idle":
            self._idle_since = math.inf
            return IterationState(f"Skaffold is {record.phase or 'starting'}, iteration {record.iteration}")
        self._idle_since = min(self._idle_since, now)
        until = self._idle_since + self._notice_within
        if not self._noticed and now < until:
            return IterationState("Skaffold has not noticed a change", until=until, idle=self._idle)
        failure = f"Skaffold's iteration {record.iteration} failed: {record.error or 'see its output'}"
        return IterationState(error=failure if record.failed else "", idle=self._idle)

    def _without_skaffold(self, record: SkaffoldRecord | None) -> IterationState:
        self._lost, self._idle_since = self._first is not None, math.inf
        if self._lost and record is not None and record.failed:
            return IterationState(error=f"Skaffold has ended: {record.error or 'see its output'}")
        return IterationState(record.reason if record and record.reason else "no Skaffold is attached")


async def follow_events(instance: Instance, board: Board, on_change: Callable[[], None]) -> None:
    """Copies another portside's events to `board` until its stream ends. Raises httpx.HTTPError, OSError.

    It does not reconnect: a portside whose stream has ended has ended itself.
    """
    timeout = httpx.Timeout(None, connect=_CONNECT)
    async with (
        httpx.AsyncClient(trust_env=False, timeout=timeout, headers=instance.headers()) as client,
        client.stream("GET", f"{instance.url}/v1/events") as response,
    ):
        response.raise_for_status()
        async for record in _records(response.aiter_lines()):
            board.publish(record)
            on_change()


async def _records(lines: AsyncIterator[str]) -> AsyncIterator[Record]:
    """Decodes a record from each `data:` line. Kinds that only a later version knows are ignored."""
    async for line in lines:
        field, _, value = line.partition(":")
        if field == "data":
            try:
                yield msgspec.json.decode(value, type=Record)
            except (msgspec.DecodeError, RecursionError):
                continue


class Prospects:
    """Whether any target of `portside forward` can still work.

    A forward that was ready once, or whose target existed once, may come back: a deleted object may be created again.
    A target that was never right stays wrong: no such object or port, UDP, no permission, a local port that is taken.
    """

    def __init__(self) -> None:
        self._worked: set[str] = set()  # ids
        self._found: set[str] = set()

    def worked(self, ident: str) -> None:
        """Note that this forward was ready."""
        self._worked.add(ident)

    def planned(self, plan: Plan, *, settled: bool) -> None:
        """Note which targets a new plan has found. `settled`: the plan is based on complete lists."""
        asked = {*(wanted.id for wanted in plan.forwards), *(skip.id for skip in plan.skips)}
        self._worked &= asked
        self._found &= asked
        if settled:
            self._found |= {wanted.id for wanted in plan.forwards if not wanted.broken}

    def none_left(self, plan: Plan, forwards: Mapping[str, ForwardRecord], *, settled: bool) -> bool:
        """Whether there are targets and none of them can ever work."""
        skips = settled and all(skip.id not in self._worked | self._found for skip in plan.skips)
        asked = bool(plan.forwards or plan.skips)
        return (
            asked
            and not plan.published
            and (skips or not plan.skips)
            and all(self._is_hopeless(wanted, forwards.get(wanted.id), settled=settled) for wanted in plan.forwards)
        )

    def _is_hopeless(self, wanted: PlannedForward, record: ForwardRecord | None, *, settled: bool) -> bool:
        if record is None or record.state != State.FAILED.value or wanted.id in self._worked:
            return False
        if not record.local_port:
            return True  # the local port is taken, and binding is tried once only
        return settled and not (wanted.broken and wanted.id in self._found)
