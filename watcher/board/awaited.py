"""Answers whether what was asked for is ready: for `portside wait` and for --exec, by names or for all. Pure.

A forward that failed counts once the plan stands: before that a deploy may still put it right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from watcher.board.board import Board
from watcher.board.records import ForwardRecord, SkipRecord
from watcher.config.entries import CONTAINER, checked_namespace, name_problem
from watcher.config.targets import parse_target, remote_port
from watcher.errors import ConfigError

NOT_SETTLED = "the first deploy and the first lists are awaited"

NOTHING = "nothing is forwarded"


class Name(Struct, frozen=True):
    """`TYPE/NAME[:PORT]` as asked; `port` "" and `namespace` "" mean any."""

    word: str
    kind: str
    name: str
    port: str
    namespace: str

    def means(self, record: ForwardRecord | SkipRecord) -> bool:
        return (
            record.resource_type.lower() == self.kind
            and record.resource_name == self.name
            and self.port in {"", str(record.remote_port)}
            and self.namespace in {"", record.namespace}
        )


class Verdict(Struct, frozen=True):
    """`missing`: a line for each thing that is not ready. `hopeless`: waiting on is in vain."""

    missing: tuple[str, ...]
    hopeless: bool = False

    @property
    def ready(self) -> bool:
        return not self.missing


def parse_name(word: str, namespace: str) -> Name:
    """kubectl's types and short forms, or a bare pod's name. Raises ConfigError."""
    target, colon, port = word.partition(":")
    checked_namespace(namespace, "--namespace")
    resource_type, _, name = target.rpartition("/")
    if resource_type.lower() == CONTAINER:
        kind = CONTAINER
        if problem := name_problem(name, namespace):
            raise ConfigError(f"{word!r}: {problem}")
    else:
        kind, name = parse_target(target)
    return Name(word, kind, name, str(remote_port(port, word)) if colon else "", namespace)


def verdict(boards: Iterable[Board], names: Sequence[Name] = ()) -> Verdict:
    """With names: all that they mean, on whatever board; without: every forward on every board, as /readyz."""
    boards = shown = list(boards)
    forwards = [(board, record) for board in shown for record in board.forwards.values()]
    if names:
        forwards = [(board, record) for board, record in forwards if any(name.means(record) for name in names)]
        concerned = {id(board) for board, _ in forwards}
        shown = [board for board in shown if id(board) in concerned]
        absent = [name for name in names if not any(name.means(record) for _, record in forwards)]
    else:
        absent = []
    skips = [record for board in boards for record in board.skips.values()]
    missing = [
        *(NOT_SETTLED for board in shown if not board.settled),
        *(line(record) for _, record in forwards if record.state != "ready"),
        *(_absent(name, skips) for name in absent),
    ]
    hopeless = any(board.settled and record.state == "failed" for board, record in forwards)
    return Verdict(tuple(dict.fromkeys(missing)), hopeless)


def for_command(board: Board) -> Verdict:
    """Whether the command of --exec may begin: all is ready, and what `forward` was asked for is forwarded."""
    now = verdict([board])
    refused = [skip for skip in board.skips.values() if skip.source == "direct"]
    skips = refused if board.forwards else [*board.skips.values()]
    missing = [*now.missing, *(_not_forwarded(skip) for skip in skips)]
    if board.settled and not board.forwards:
        missing.insert(0, NOTHING)
    return Verdict(tuple(dict.fromkeys(missing)), now.hopeless or (board.settled and bool(refused)))


def line(record: ForwardRecord) -> str:
    """One line on a forward: its state, what it is, why."""
    reason = f": {record.reason}" if record.reason else ""
    target = f"{record.resource_type}/{record.resource_name} port {record.remote_port}"
    return f"{record.state} {target} in namespace {record.namespace}{reason}"


def _not_forwarded(skip: SkipRecord) -> str:
    port = f" port {skip.remote_port}" if skip.remote_port else ""
    return f"{skip.resource_type}/{skip.resource_name}{port} is not forwarded: {skip.reason}"


def _absent(name: Name, skips: Iterable[SkipRecord]) -> str:
    reasons = [skip.reason for skip in skips if name.means(skip)]
    return f"{name.word} is not forwarded{f': {reasons[0]}' if reasons else ''}"
