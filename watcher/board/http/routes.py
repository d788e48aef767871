"""Answers each path of the status address (docs/status-http.md) from the board. Who may ask is the guard's decision."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus

from watcher.board.board import Board
from watcher.board.http import events, metrics, page
from watcher.board.http.messages import Answer, Request, text
from watcher.board.records import counted
from watcher.board.text import json_line

# A stuck reader is told from a slow one by nothing but time: this many may be either, and every other question is
# still answered (server.MAX_CONNECTIONS).
MAX_STREAMS = 64


class Routes:
    """`await routes(request)` is the answer."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._streams = 0
        self.paths: Mapping[str, Callable[[Request], Awaitable[Answer]]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/v1/forwards": self._forwards,
            "/v1/explain": self._explain,
            "/v1/about": self._about,
            "/v1/events": self._events,
            "/metrics": self._metrics,
        }

    async def __call__(self, request: Request) -> Answer:
        answer = self.paths.get(request.path)
        if answer is not None:
            return await answer(request)
        return page.answer(request.path) or text("there is nothing here", HTTPStatus.NOT_FOUND)

    async def _healthz(self, _: Request) -> Answer:
        return text("ok")

    async def _readyz(self, _: Request) -> Answer:
        board = self._board
        if board.ready:
            return text("ok")
        waiting = [] if board.settled else ["the first deploy and the first lists are awaited"]
        lines = [f"{record.state} {record.id} {record.reason}".rstrip() for record in board.not_ready]
        return text("\n".join([*waiting, *lines]), HTTPStatus.SERVICE_UNAVAILABLE)

    async def _forwards(self, _: Request) -> Answer:
        counts = self._board.counters()
        return _json([counted(record, counts.get(ident)) for ident, record in self._board.forwards.items()])

    async def _explain(self, _: Request) -> Answer:
        return _json(await self._board.explain())

    async def _about(self, _: Request) -> Answer:
        return _json(self._board.about)

    async def _metrics(self, request: Request) -> Answer:
        return await metrics.answer(self._board, self._streams, request.header("accept"))

    async def _events(self, request: Request) -> Answer:
        if self._streams >= MAX_STREAMS:
            return text(
                f"{MAX_STREAMS} readers of events are connected, which is the limit; end one of them",
                HTTPStatus.SERVICE_UNAVAILABLE,
                ("Retry-After", "5"),
            )
        stream = events.changes_with_counters if "counters" in request.query else events.changes
        return Answer(media_type="text/event-stream", stream=self._counted(stream(self._board)))

    @asynccontextmanager
    async def _counted(self, stream: AsyncGenerator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
        self._streams += 1
        try:
            async with aclosing(stream):
                yield stream
        finally:
            self._streams -= 1


def _json(value: object) -> Answer:
    return Answer(body=json_line(value).encode(), media_type="application/json")
