"""The line outputs: Skaffold's sentences, delayed reports of waiting, pipes without a reader."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
from collections.abc import Iterator

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.board.made import forward, skaffold, skip
from watcher.board.board import Board
from watcher.board.lines import JsonLines, LineRenderer, PlainLines, next_lines, printable, write_lines
from watcher.board.records import Record

READY = "Port forwarding service/web in namespace default, remote port 8080 -> http://127.0.0.1:8080"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Read end, write end; the write end is closed afterwards, the read end belongs to the test."""
    read_end, write_end = os.pipe()
    yield read_end, write_end
    os.close(write_end)


async def said(renderer: LineRenderer, *steps: Record | float) -> list[str]:
    """The lines for records and, between them, seconds that pass."""
    board = Board()
    subscription = board.subscribe()
    lines: list[str] = []

    async def read() -> None:
        with contextlib.suppress(trio.EndOfChannel):
            while True:
                lines.extend(await next_lines(subscription, renderer))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for step in steps:
            if isinstance(step, float):
                await trio.sleep(step)
            else:
                board.publish(step)
                await trio.testing.wait_all_tasks_blocked()
        board.close()
    return [line.removesuffix("\n") for line in lines]


async def test_the_sentence_is_skaffolds(autojump_clock: trio.abc.Clock) -> None:
    """Tools that read Skaffold's output keep working."""
    assert await said(PlainLines(), forward()) == [READY]


async def test_a_remark_leaves_the_sentence_alone(autojump_clock: trio.abc.Clock) -> None:
    """A local port other than the requested one is reported on its own line."""
    taken = forward(local_port=8081, url="http://127.0.0.1:8081", reason="port 8080 is taken; using 8081")
    assert await said(PlainLines(), taken) == [
        READY.replace("127.0.0.1:8080", "127.0.0.1:8081"),
        "  port 8080 is taken; using 8081",
    ]


async def test_another_context_is_named(autojump_clock: trio.abc.Clock) -> None:
    """On a line of its own behind Skaffold's sentence, and in every other one; the default one never is."""
    far = forward(context="far")
    assert await said(PlainLines("here"), far) == [READY, "  of context far"]
    assert await said(PlainLines("here"), forward(context="here")) == [READY]
    failed = forward("api", "failed", context="far", reason="gone")
    lines = await said(PlainLines("here"), failed, replace(skip(), context="far"))
    assert lines[0].startswith("Cannot forward service/api in namespace default of context far, remote port 8080")
    assert " of context far: " in lines[1]


async def test_only_a_new_remark_is_printed(autojump_clock: trio.abc.Clock) -> None:
    """What keeps connections waiting has a line once, however many they are; the sentence is not repeated for it."""
    refused = "nothing listens on 8080 in pod web-1: connection refused"
    steps = [
        forward(reason=reason) for reason in ("", f"{refused}; 1 connection waits", f"{refused}; 12 connections wait")
    ]
    lines = await said(PlainLines(), *steps, forward(reason=refused), forward())
    assert lines == [READY, f"  {refused}; 1 connection waits"]
    lines = await said(PlainLines(), forward(), forward(reason="using 8081"), forward(reason="using 8082"))
    assert lines == [READY, "  using 8081", "  using 8082"]


async def test_a_short_wait_is_not_said(autojump_clock: trio.abc.Clock) -> None:
    """A pod that is replaced within a second changes nothing that people need to read."""
    waits = forward(state="listening", reason="no pod")
    assert await said(PlainLines(), forward(), waits, 0.9, forward()) == [READY]


async def test_a_long_wait_is_said_once_and_its_end_too(autojump_clock: trio.abc.Clock) -> None:
    """With the reason of that moment; a new reason during the same wait is not another line."""
    steps: tuple[Record | float, ...] = (
        forward(state="waiting", url=""),
        forward(state="listening", reason="no pod"),
        0.5,
        forward(state="listening", reason="web-1 is Pending"),
        1.0,
        forward(state="listening", reason="web-1 is Running but not Ready"),
        5.0,
        forward(),
    )
    assert await said(PlainLines(), *steps) == [
        READY.replace("Port forwarding", "Waiting to forward") + " (web-1 is Pending)",
        READY,
    ]


async def test_each_wait_has_its_own_second(autojump_clock: trio.abc.Clock) -> None:
    """A wait that began later is reported later; one that has ended is not reported."""
    a, b, c = (forward(name, "listening", url="", reason=name) for name in "abc")
    lines = await said(PlainLines(), a, 0.6, b, c, 0.5, forward("c"), 0.6)
    assert [line.rpartition("(")[2] for line in lines[::2]] == ["a)", "b)"]
    assert "service/c" in lines[1]


async def test_failures_skips_and_a_lost_skaffold_are_said_at_once(autojump_clock: trio.abc.Clock) -> None:
    """Each line names the resource and the reason."""
    failed = forward(state="failed", url="", reason="port 8080 on 127.0.0.1 is taken")
    lost = skaffold(change="lost", attached=False, reason="its event stream ended")
    assert await said(PlainLines(), failed, skip(), lost) == [
        "Cannot forward service/web in namespace default, remote port 8080: port 8080 on 127.0.0.1 is taken",
        "Not forwarding service/dns port 53 in namespace default: port 53 is UDP, and Kubernetes forwards TCP only",
        "Skaffold: its event stream ended; forwards stay, waiting for it",
    ]


async def test_the_end_of_a_forward_is_said_where_its_beginning_was(autojump_clock: trio.abc.Clock) -> None:
    """A forward that was never printed ends without a line; one that starts again is printed again."""
    stopped = forward(state="stopped", url="")
    assert await said(PlainLines(), forward("x", "waiting"), forward("x", "stopped")) == []
    assert await said(PlainLines(), forward(), stopped, stopped, forward()) == [
        READY,
        "Stopped forwarding service/web in namespace default, remote port 8080",
        READY,
    ]


async def test_json_has_every_change(autojump_clock: trio.abc.Clock) -> None:
    """One object a line, a control character none."""
    records: list[Record] = [forward(state="listening"), forward(reason="\x1b[2J\x9b\x7f"), skip(), skaffold()]
    lines = await said(JsonLines(), *records)
    assert [json.loads(line)["kind"] for line in lines] == ["forward", "forward", "skip", "skaffold"]
    assert json.loads(lines[1])["reason"] == "\x1b[2J\x9b\x7f"
    assert all(line.isprintable() for line in lines)


@given(st.text())
def test_nothing_steers_a_terminal(text: str) -> None:
    """No text from a cluster puts a control character or a second line into the output."""
    records: list[Record] = [
        forward(reason=text),
        forward("b", "failed", reason=text),
        skip(reason=text),
        skaffold(change="lost", attached=False, reason=text),
    ]
    for record in records:
        for line in PlainLines().lines(record):
            assert line.endswith("\n")
            body = line[:-1]
            assert body == printable(body)
            assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in body)
            assert body.startswith(("Port forwarding", "  ", "Cannot", "Not", "Skaffold"))
        raw = "".join(JsonLines().lines(record))
        assert raw.count("\n") == 1
        assert json.loads(raw)["reason"] == text


async def test_a_full_pipe_holds_nothing(pipe: tuple[int, int]) -> None:
    """While stdout is stuck nothing waits for it: neither who publishes, nor the end."""
    read_end, write_end = pipe
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    board = Board()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_lines, board, JsonLines(), write_end)
            for number in range(200):
                board.publish(forward(reason=f"{number}"))
                await trio.lowlevel.checkpoint()
            board.publish(forward("big", reason="x" * 8192))
            while select.select([], [write_end], [], 0)[1]:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    # The thread that was left behind comes to its end once somebody reads.
    data = await trio.to_thread.run_sync(os.read, read_end, 65536)
    assert data.startswith(b'{"kind":"forward"')


async def test_a_pipe_that_was_made_non_blocking(pipe: tuple[int, int]) -> None:
    """Others that share it may have done so (Node.js does): not a byte is lost, and the lines go on."""
    read_end, write_end = pipe
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(write_end, False)
    board = Board()
    subscribed = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_lines, board, JsonLines(), write_end)
        await trio.testing.wait_all_tasks_blocked()
        for name in "abc":
            board.publish(forward(name, reason="x" * 9000))
            subscribed += 1
        await trio.testing.wait_all_tasks_blocked()
        received = b""
        with trio.fail_after(60):
            while received.count(b"\n") < subscribed:
                received += await trio.to_thread.run_sync(os.read, read_end, 65536)
        nursery.cancel_scope.cancel()
    assert [json.loads(line)["resourceName"] for line in received.splitlines()] == ["a", "b", "c"]


async def test_a_reader_that_left_ends_the_lines_alone() -> None:
    """`portside … | head -1`: the reader leaves, and forwarding goes on."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    board = Board()
    board.publish(forward())
    with trio.fail_after(60):
        await write_lines(board, JsonLines(), write_end)
    os.close(write_end)
    board.publish(forward(state="failed"))
    assert not board.ready


def test_a_name_is_a_line_of_its_own() -> None:
    """Skaffold's sentence ends as it always does."""
    said = list(PlainLines().lines(forward(gateway="http://web.localhost:8000")))
    assert said[0].endswith("-> http://127.0.0.1:8080\n")
    assert said[1:] == ["  also http://web.localhost:8000\n"]
