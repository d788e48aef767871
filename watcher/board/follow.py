"""Owns following another portside: its server-sent events, told again on a board of ours.

Refuses to reconnect: a portside whose stream has ended has ended itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
import msgspec

from watcher.board.board import Board
from watcher.board.records import Record
from watcher.board.runtime import Running

# Seconds. Its socket is bound before it answers, which it does once its first plan was made: that may ask a cluster.
_CONNECT = 5.0


async def follow(running: Running, board: Board, on_change: Callable[[], None]) -> None:
    """Tells `board` everything until the stream ends. Waits without limit for news. Raises httpx.HTTPError, OSError."""
    timeout = httpx.Timeout(None, connect=_CONNECT)
    async with (
        httpx.AsyncClient(trust_env=False, timeout=timeout, headers=running.headers()) as client,
        client.stream("GET", f"{running.url}/v1/events") as response,
    ):
        response.raise_for_status()
        async for record in _records(response.aiter_lines()):
            board.publish(record)
            on_change()


async def _records(lines: AsyncIterator[str]) -> AsyncIterator[Record]:
    """Each event is one `data:` line; kinds that a later portside may know are passed over."""
    async for line in lines:
        field, _, value = line.partition(":")
        if field == "data":
            try:
                yield msgspec.json.decode(value, type=Record)
            except (msgspec.DecodeError, RecursionError):
                continue
