"""Decides whether requested forwards are ready, for `portside wait` and --exec, and whether `forward` can give up.

A failed forward is final only once the plan is settled: before that a deploy may still repair it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

import httpx
import msgspec
from msgspec import Struct

from forwarders.spec import State
from watcher.board.board import Board
from watcher.board.records import ForwardRecord, Record, SkipRecord
from watcher.board.runtime import Instance
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
    """`TYPE/NAME[:PORT]` as the user wrote it; `port` "" and `namespace` "" match any."""

    word: str
    kind: str
    name: str
    port: str
    namespace: str

    def matches(self, record: ForwardRecord | SkipRecord) -> bool:
        return (
            record.resource_type.lower() == self.kind
            and record.resource_name == self.name
            and self.port in {"", str(record.remote_port)}
            and self.namespace in {"", record.namespace}
        )


class Readiness(Struct, frozen=True):
    """`missing`: a line for each thing that is not ready. `hopeless`: waiting longer cannot help."""

    missing: tuple[str, ...]
    hopeless: bool = False

    @property
    def ready(self) -> bool:
        return not self.missing


def parse_forward_query(word: str, namespace: str) -> ForwardQuery:
    """Takes kubectl's types and short forms, or a pod's bare name. Raises ConfigError."""
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
    """With queries: every forward that matches one, on any board. Without: every forward on every board, as /readyz."""
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
    """One record for each `data:` line. Kinds that only a later version knows are ignored."""
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
        """This forward is ready."""
        self._worked.add(ident)

    def planned(self, plan: Plan, *, settled: bool) -> None:
        """`settled`: the plan is based on complete lists."""
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
