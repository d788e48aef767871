"""What a terminal's table needs is imported while the forwards begin, and they may end before it is there."""

from __future__ import annotations

import importlib
import threading

import pytest
import trio

from watcher.board.board import Board
from watcher.cli import sinks


async def test_an_import_that_takes_long_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be forwarded: the reason is written while the import goes on, since little time is left for it."""
    began, released = trio.Event(), threading.Event()
    imported = list[str]()

    def slow(name: str) -> None:
        trio.from_thread.run_sync(began.set)
        released.wait(60)
        imported.append(name)

    monkeypatch.setattr(importlib, "import_module", slow)
    board = Board()
    try:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sinks._import_later, board, "watcher.board.screen")
                await began.wait()
                board.close()
        assert not imported
    finally:
        released.set()
