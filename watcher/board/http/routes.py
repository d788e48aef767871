"""Answers each path of the status address (docs/status-http.md) from the board: JSON, events, metrics, the page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from functools import cache
from http import HTTPStatus
from importlib.resources import files

import trio

from forwarders.spec import Counts
from watcher.board.actions import is_valid_path, probe_forward
from watcher.board.board import Board
from watcher.board.changes import is_final
from watcher.board.http import StatusRequest, StatusResponse, metrics, plain_text
from watcher.board.lines import json_line
from watcher.board.readiness import NOT_SETTLED
from watcher.board.records import ForwardRecord, Record, RetryRecord, counted

# Readers of events. A stuck reader looks like a slow one until its timeout. With so many of either, every other request
# still gets a connection (server.MAX_CONNECTIONS).
MAX_STREAMS = 64
# Tests at once; each is one connection to an application.
MAX_TESTS = 8
# Seconds between two looks at the counters, which change with every byte. Nobody can read more often.
COUNTERS_EVERY = 1.0
# Seconds after which a quiet stream sends a comment, so that a client that has vanished is noticed.
HEARTBEAT = 15.0

PAGE_MODULES = ("clipboard", "details", "page", "rows", "traffic", "view", "words")
# The page: path, file, media type.
PAGE_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in PAGE_MODULES},
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
# Only our own files; text is never parsed as HTML; no other page may frame ours.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


class Routes:
    """Answers requests: `await routes(request)` is the response. `Guard` has checked before that the client may ask."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._streams = 0
        self.paths: Mapping[str, Callable[[StatusRequest], Awaitable[StatusResponse]]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/v1/forwards": self._forwards,
            "/v1/explain": self._explain,
            "/v1/about": self._about,
            "/v1/skaffold": self._skaffold,
            "/v1/events": self._events,
            "/v1/changes": self._changes,
            "/metrics": self._metrics,
        }
        self.actions: Mapping[str, Callable[[StatusRequest], Awaitable[StatusResponse]]] = {
            "/v1/test": self._test,
            "/v1/retry": self._retry,
        }
        self._tests = trio.CapacityLimiter(MAX_TESTS)

    async def __call__(self, request: StatusRequest) -> StatusResponse:
        respond = (self.actions if request.method == "POST" else self.paths).get(request.path)
        if respond is not None:
            return await respond(request)
        if request.path in PAGE_FILES:
            return _page_file(*PAGE_FILES[request.path])
        return plain_text("there is nothing here", HTTPStatus.NOT_FOUND)

    async def _healthz(self, _: StatusRequest) -> StatusResponse:
        return plain_text("ok")

    async def _readyz(self, _: StatusRequest) -> StatusResponse:
        board = self._board
        if board.ready:
            return plain_text("ok")
        unsettled = [] if board.settled else [NOT_SETTLED]
        lines = [f"{record.state} {record.id} {record.reason}".rstrip() for record in board.not_ready]
        return plain_text("\n".join([*unsettled, *lines]), HTTPStatus.SERVICE_UNAVAILABLE)

    async def _forwards(self, _: StatusRequest) -> StatusResponse:
        counts = self._board.counters()
        return _json([counted(record, counts.get(ident)) for ident, record in self._board.forwards.items()])

    async def _explain(self, _: StatusRequest) -> StatusResponse:
        return _json(await self._board.explain())

    async def _about(self, _: StatusRequest) -> StatusResponse:
        return _json(self._board.about)

    async def _skaffold(self, _: StatusRequest) -> StatusResponse:
        return _json(self._board.skaffold)

    async def _metrics(self, request: StatusRequest) -> StatusResponse:
        return await metrics.metrics_response(self._board, self._streams, request.header("accept"))

    async def _changes(self, request: StatusRequest) -> StatusResponse:
        return _json(self._board.history.last(request.query.get("id", "")))

    async def _test(self, request: StatusRequest) -> StatusResponse:
        path = request.query.get("path", "")
        if path and not is_valid_path(path):
            return plain_text("path must begin with / and be ASCII without spaces", HTTPStatus.BAD_REQUEST)
        record = self._board.forwards.get(request.query.get("id", ""))
        if record is None:
            return _NO_SUCH_FORWARD
        async with self._tests:
            return _json(await probe_forward(self._board, record, path))

    async def _retry(self, request: StatusRequest) -> StatusResponse:
        ident = request.query.get("id", "")
        if ident not in self._board.forwards:
            return _NO_SUCH_FORWARD
        reason = self._board.retry(ident)
        return _json(RetryRecord(id=ident, retried=not reason, reason=reason))

    async def _events(self, request: StatusRequest) -> StatusResponse:
        if self._streams >= MAX_STREAMS:
            return plain_text(
                f"{MAX_STREAMS} readers of events are connected, which is the limit; end one of them",
                HTTPStatus.SERVICE_UNAVAILABLE,
                ("Retry-After", "5"),
            )
        stream = events_with_counters if "counters" in request.query else events
        return StatusResponse(media_type="text/event-stream", stream=self._counted(stream(self._board)))

    @asynccontextmanager
    async def _counted(self, stream: AsyncGenerator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
        self._streams += 1
        try:
            async with aclosing(stream):
                yield stream
        finally:
            self._streams -= 1


_NO_SUCH_FORWARD = plain_text("there is no forward with this id", HTTPStatus.NOT_FOUND)


def _json(value: object) -> StatusResponse:
    return StatusResponse(body=json_line(value).encode(), media_type="application/json")


@cache
def _page_file(name: str, media_type: str) -> StatusResponse:
    body = files(__package__).joinpath("page", name).read_bytes()
    policy = ("Content-Security-Policy", PAGE_POLICY)
    return StatusResponse(body=body, media_type=media_type, headers=(policy,))


async def events(board: Board) -> AsyncGenerator[bytes]:
    """Server-sent events: the current state, then every change; ends with the board."""
    async with aclosing(_batches(board, HEARTBEAT)) as batches:
        async for records in batches:
            yield _encoded(records)


async def events_with_counters(board: Board) -> AsyncGenerator[bytes]:
    """The changes of `events`, with counters. Sends a forward again when its counters change, at most once a second."""
    shown: dict[str, Counts] = {}
    forwards: dict[str, ForwardRecord] = {}  # as this reader was told
    next_look = trio.current_time()
    async with aclosing(_batches(board, COUNTERS_EVERY)) as batches:
        async for records in batches:
            counts = board.counters()
            told = {one.id: one for one in records if isinstance(one, ForwardRecord)}
            for ident, record in told.items():
                if is_final(record):
                    forwards.pop(ident, None)
                else:
                    forwards[ident] = record
            if trio.current_time() >= next_look:
                next_look = trio.current_time() + COUNTERS_EVERY
                moved = {ident for ident, count in counts.items() if shown.get(ident) != count}
                records += [forwards[ident] for ident in moved - told.keys() if ident in forwards]
                shown = dict(counts)
            yield _encoded(
                counted(one, counts.get(one.id)) if isinstance(one, ForwardRecord) else one for one in records
            )


async def _batches(board: Board, every: float) -> AsyncGenerator[list[Record]]:
    """Yields changes as they happen, and [] after `every` seconds without one."""
    async with board.subscribe() as changes:
        with suppress(trio.EndOfChannel):
            while True:
                records: list[Record] = []
                with trio.move_on_after(every):
                    records = await changes.receive()
                yield records


def _encoded(records: Iterable[Record]) -> bytes:
    return b"".join(b"data: " + json_line(record).encode() + b"\n\n" for record in records) or b": \n\n"
