"""One truth: whatever happens, and however slow they are, all that show forwards end up with the same, and right.

Plays random plans, states, ends without a report and slow readers. Compares every consumer with what was played.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarders.spec import Counts, State
from tests.board.playing import Play, Said
from watcher.board.board import Board
from watcher.board.environment import EnvFile, Variables
from watcher.board.http import StatusRequest, routes
from watcher.board.http.routes import Routes
from watcher.board.layout import Canvas
from watcher.board.lines import JsonLines, PlainLines, next_lines
from watcher.board.readiness import NOT_SETTLED, readiness
from watcher.board.records import Record
from watcher.board.table import TableView
from watcher.cli.skaffold_source import ready_forwards

NAMES = "abc"
BEGINNINGS = {"ready": "Port forwarding", "failed": "Cannot forward", "listening": "Waiting to forward"}
EPOCH = datetime(2026, 11, 23, tzinfo=UTC)
Shown = dict[str, Any]


class Objects:
    """Folds JSON objects as a program that reads them would, and objects to what cannot be."""

    def __init__(self) -> None:
        self.forwards: dict[str, Shown] = {}
        self.skips: dict[str, Shown] = {}

    def take(self, record: Shown) -> None:
        ident = record.get("id", "")
        match record:
            case {"kind": "forward", "state": "stopped"}:
                assert ident not in self.skips
                self.forwards.pop(ident, None)
            case {"kind": "forward"}:
                assert ident not in self.skips, "a forward began before its skip was over"
                before = self.forwards.get(ident, record)
                assert 0 in {before["localPort"], record["localPort"]} or before["localPort"] == record["localPort"]
                self.forwards[ident] = record
            case {"kind": "skip", "over": True}:
                assert self.skips.pop(ident, None) or ident not in self.forwards
            case {"kind": "skip"}:
                assert ident not in self.forwards, "a forward became a skip and was not stopped first"
                self.skips[ident] = record


class Reader(Protocol):
    """Reads the board in one of the ways there are."""

    async def read(self) -> None:
        """Take what is there."""

    def check(self, play: Play) -> None:
        """Everything was read: it shows the truth."""


class Lines:
    """--output json, or the SSE stream of /v1/events with or without counters, as `portside wait` follows it too."""

    def __init__(self, board: Board, how: str) -> None:
        self.objects, self.follower = Objects(), Board()
        self._subscription = board.subscribe() if how == "lines" else None
        streams = {"events": routes.events, "counters": routes.events_with_counters}
        self._stream: AsyncGenerator[bytes] | None = streams[how](board) if how in streams else None

    async def read(self) -> None:
        if self._subscription is not None:
            with trio.move_on_after(0):
                lines = await next_lines(self._subscription, JsonLines())
                self._take(lines)
        elif self._stream is not None:
            data = (await anext(self._stream)).decode()
            self._take([line.removeprefix("data: ") for line in data.splitlines() if line.startswith("data: ")])

    def _take(self, lines: list[str]) -> None:
        for line in lines:
            self.objects.take(json.loads(line))
            self.follower.publish(msgspec.json.decode(line, type=Record))

    def check(self, play: Play) -> None:
        shown = {ident: (record["state"], record["localPort"]) for ident, record in self.objects.forwards.items()}
        assert shown == play.forwards
        assert {ident: record["reason"] for ident, record in self.objects.skips.items()} == play.skips
        followed = {ident: (record.state, record.local_port) for ident, record in self.follower.forwards.items()}
        assert followed == play.forwards
        missing = [line for line in readiness([self.follower]).missing if line != NOT_SETTLED]
        assert len(missing) == sum(state != "ready" for state, _ in play.forwards.values())

    async def close(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()


class Table:
    """The live table."""

    def __init__(self, board: Board) -> None:
        self._view = TableView(board)
        self._subscription = board.subscribe()

    async def read(self) -> None:
        with trio.move_on_after(0):
            self._view.take(await self._subscription.receive(), trio.current_time())

    def check(self, play: Play) -> None:
        frame = self._view.frame(Canvas(200, colour=False), 50, trio.current_time())
        text = [re.sub(r"\x1b\][^\x1b]*\x1b\\|\x1b\[[\d;]*m", "", line) for line in frame]
        rows = [line.split() for line in text if line.startswith("svc/")]
        assert {row[0].removeprefix("svc/")[0]: row[3] for row in rows} == {
            ident: state for ident, (state, _) in play.forwards.items()
        }
        assert any(f"Not forwarded ({len(play.skips)})" in line for line in text) == bool(play.skips)


class Sentences:
    """--output plain: the last sentence on each name is true."""

    def __init__(self, board: Board) -> None:
        self._renderer = PlainLines()
        self._subscription = board.subscribe()
        self._last: dict[str, str] = {}

    async def read(self) -> None:
        with trio.move_on_after(0):
            self._take(await next_lines(self._subscription, self._renderer))
        self._take(list(self._renderer.overdue(trio.current_time())))

    def _take(self, lines: list[str]) -> None:
        for line in lines:
            if name := re.search(r"service/(\w)", line):
                self._last[name[1]] = line

    def check(self, play: Play) -> None:
        for ident in NAMES:
            last = self._last.get(ident, "")
            if ident in play.forwards:
                assert last.startswith(BEGINNINGS[play.forwards[ident][0]]), last
            elif ident in play.skips:
                assert last.startswith("Not forwarding"), last
                assert play.skips[ident] in last
            else:
                assert last.startswith(("Stopped", "Not forwarding")) or not last


steps: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        dict,
        **{
            name: st.sampled_from(
                [None, Said("wanted"), Said("wanted", 1), Said("skip"), Said("skip", 1), Said("published")]
            )
            for name in NAMES
        },
    ),
    st.tuples(st.sampled_from(NAMES), st.sampled_from([State.LISTENING, State.READY, State.FAILED])),
    st.integers(0, 4),
    st.sampled_from(["silent", "broken"]),
)


@settings(deadline=None, max_examples=150)  # two shared cores: time says nothing here
@given(st.lists(steps, max_size=25))
def test_every_consumer_shows_what_is_true(script: list[Any]) -> None:
    """Table, lines, JSON lines, SSE, /v1/forwards, readyz, metrics, explain, env file, portEvents, a follower."""
    trio.run(play_through, script, clock=trio.testing.MockClock(autojump_threshold=0))


async def play_through(script: list[Any]) -> None:
    play = Play()
    board = play.board
    board.counters = lambda: {ident: Counts(since=EPOCH, sent=len(script)) for ident in play.fleet.running}
    lines = [Lines(board, how) for how in ("lines", "events", "counters")]
    readers: list[Reader] = [*lines, Table(board), Sentences(board)]
    for reader in readers:
        await reader.read()  # a generator subscribes when it is first asked
    with tempfile.TemporaryDirectory() as folder:
        file = EnvFile(f"{folder}/env", Variables())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(file.run, board)
            for step in script:
                await take_step(step, play, readers)
            await trio.sleep(2)  # waits are said, what has stopped leaves the table
            for reader in readers:
                await reader.read()
                await reader.read()
            await trio.sleep(2)
            for reader in readers:
                await reader.read()
                reader.check(play)
            await check_views(play)
            board.close()
        for line in lines:
            await line.close()
        bound = {ident.upper(): str(port) for ident, (_, port) in play.forwards.items() if port}
        given = re.findall(r"^([A-Z])_80_PORT=(\d+)$", await trio.Path(folder, "env").read_text(), re.MULTILINE)
    assert dict(given) == bound


async def take_step(step: Any, play: Play, readers: list[Reader]) -> None:
    match step:
        case dict():
            await play.plan({ident: said for ident, said in step.items() if said is not None})
        case (ident, state):
            play.fleet.becomes(ident, state, "" if state is State.READY else "it does not work")
        case int():
            await readers[step].read()
        case "silent":
            play.fleet.silent = not play.fleet.silent
        case "broken":
            play.fleet.broken = not play.fleet.broken


async def check_views(play: Play) -> None:
    """The readers that look at the board on demand."""
    routes, board = Routes(play.board), play.board
    listed = json.loads((await routes(ask("/v1/forwards"))).body)
    assert {record["id"]: (record["state"], record["localPort"]) for record in listed} == play.forwards
    metrics = (await routes(ask("/metrics"))).body.decode()
    for state in ("waiting", "listening", "ready", "failed"):
        count = sum(now == state for now, _ in play.forwards.values())
        assert f'portside_forwards{{state="{state}"}} {float(count)}' in metrics
    assert f"portside_skipped {float(len(play.skips))}" in metrics
    not_ready = {ident for ident, (state, _) in play.forwards.items() if state != "ready"}
    assert {record.id for record in board.not_ready} == not_ready
    told = {(one.resource_name, one.local_port) for one in ready_forwards(board)}
    assert told == {(ident, port) for ident, (state, port) in play.forwards.items() if state == "ready"}
    yes = {record.resource_name for record in await board.explain() if record.forwarded}
    assert yes - play.missing == {ident for ident, (state, _) in play.forwards.items() if state != "failed"}


def ask(path: str) -> StatusRequest:
    return StatusRequest("GET", path, (), ("127.0.0.1", 1))
