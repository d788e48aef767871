"""With output that nobody reads (a full pipe, Ctrl-S), forwards work and portside ends in time."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from tests.cli.made import PATIENCE, Place
from tests.support import pages
from tests.support.process import PORTSIDE
from watcher.cli import logs
from watcher.cli.logs import NonBlockingHandler, OncePerSecond

Ends = tuple[int, int]


def full_pipe() -> Ends:
    """A pipe without room: its reader's end and its writer's end."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)
    return read, write


def stopped_terminal() -> Ends:
    """A terminal stopped by Ctrl-S: the master's end and its own."""
    master, slave = pty.openpty()
    termios.tcflow(slave, termios.TCOOFF)
    return master, slave


@pytest.fixture(params=[full_pipe, stopped_terminal])
def unread(request: pytest.FixtureRequest) -> Iterator[int]:
    """A stderr that takes nothing."""
    make: Callable[[], Ends] = request.param
    ends = make()
    yield ends[1]
    for descriptor in ends:
        os.close(descriptor)


async def ready_port(process: trio.Process) -> int:
    """The local port of the first forward that is ready, from the JSON lines."""
    text = b""
    assert process.stdout is not None
    async for data in process.stdout:
        text += data
        for line in text.split(b"\n")[:-1]:
            record: dict[str, Any] = json.loads(line)
            if record.get("state") == "ready":
                port: int = record["localPort"]
                return port
    raise AssertionError("portside ended")


async def test_forwards_beside_a_stderr_that_is_not_read(cluster: EmbeddedCluster, place: Place, unread: int) -> None:
    """With -vv and a stderr that nobody reads, requests are answered and SIGTERM ends portside cleanly."""
    command = [PORTSIDE, "forward", "svc/web", ":8080", "--output=json", "-vv"]
    process = await trio.lowlevel.open_process(
        command, cwd=place.folder, env=place.environment, stdout=subprocess.PIPE, stderr=unread
    )
    try:
        with trio.fail_after(PATIENCE):
            port = await ready_port(process)
            for _ in range(3):
                cluster.fail_watches(code=410)
                await trio.sleep(0.3)  # each is logged, at once
                assert "hello" in await pages.page(port, PATIENCE)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        process.kill()


def test_lines_wait_in_order_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines logged meanwhile arrive in order as soon as they are read, then the number of dropped ones."""
    monkeypatch.setattr(logs, "MOST_WAITING", 3)
    read, write = full_pipe()
    handler = NonBlockingHandler(write, "utf-8")
    for number in range(5):
        handler.handle(_record(f"line {number}"))
    text = _read(read, until=b"not read\n")
    assert text.lstrip("x").splitlines() == [
        "line 0",
        "line 1",
        "line 2",
        "portside: 2 more lines were dropped: stderr was not read",
    ]
    handler.flush()
    handler.handle(_record("after"))
    assert os.read(read, 100) == b"after\n"
    os.close(read)
    os.close(write)


def test_a_reader_that_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are dropped silently when the reader has gone, also those that wait."""
    read, write = full_pipe()
    handler = NonBlockingHandler(write, "ascii")
    handler.handle(_record("waits"))
    os.close(read)
    monkeypatch.setattr(logs, "LAST_LINES", float(PATIENCE))
    handler.flush()
    handler.handle(_record("é"))
    os.close(write)


def test_a_warning_that_repeats_is_printed_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated warning is one line per second with its number; other texts and levels pass."""
    clock = 0.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    once = OncePerSecond()
    passed = []
    for number in range(25):
        clock = number / 10
        for record in (_record("refused"), _record(f"other {number}"), _record("detail", logging.INFO)):
            passed += [record.getMessage()] if once.filter(record) else []
    refused = [text for text in passed if text.startswith("refused")]
    assert refused == ["refused", "refused (9 times more)", "refused (9 times more)"]
    assert len(passed) == 3 + 25 + 25


def test_texts_that_never_repeat_cost_no_memory() -> None:
    """Only a limited number of texts is remembered; the oldest is forgotten."""
    once = OncePerSecond()
    assert all(once.filter(_record(f"text {number}")) for number in range(10 * logs.MOST_TEXTS))
    assert len(once._passed) == logs.MOST_TEXTS
    assert not once.filter(_record(f"text {10 * logs.MOST_TEXTS - 1}"))
    assert once.filter(_record("text 0"))


def _record(text: str, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("portside", level, "", 0, text, None, None)


def _read(descriptor: int, *, until: bytes) -> str:
    data = b""
    while not data.endswith(until):
        data += os.read(descriptor, 1 << 16)
    return data.decode()
