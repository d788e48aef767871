"""Owns the connections at the status address: one question each, by h11, its answer, the close. Refuses to know routes.

Nothing here outlives its deadline, and there are only so many at once: a reader that is stuck costs one of these
connections for a while, and no forward anything. (hypercorn shields its writes from cancellation: one reader that never
reads kept the whole program from ending.)
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import h11
import trio

from forwarders.tasks import contained
from watcher.board.http.guard import Guard
from watcher.board.http.messages import Answer, Request, text

logger = logging.getLogger("portside.status")

Respond = Callable[[Request], Awaitable[Answer]]

# People, scripts and browsers; each costs a file descriptor that a forward may need. More wait in the kernel.
MAX_CONNECTIONS = 128
# A question comes at once, or nobody asks.
REQUEST_TIMEOUT = 5.0
# A reader that takes nothing for so long is stuck; it may ask again.
WRITE_TIMEOUT = 30.0
# For the close to arrive behind the last bytes.
CLOSE_TIMEOUT = 1.0
ACCEPT_PAUSE = 0.1
MAX_REQUEST = 16 * 1024
CHUNK = 64 * 1024

# Of every answer: nothing loads from elsewhere, nothing is guessed, kept or shown inside another page.
HEADERS = (
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
)


async def serve(sock: socket.socket, respond: Respond, guard: Guard) -> None:
    """Serves until cancelled; `sock` stays its owner's."""
    listener = trio.socket.from_stdlib_socket(sock)
    free = trio.Semaphore(MAX_CONNECTIONS)

    async def serve_one(accepted: trio.socket.SocketType) -> None:
        try:
            with contained(logger, "a question to the status address"):
                await _answered(accepted)
        finally:
            free.release()

    async def _answered(accepted: trio.socket.SocketType) -> None:
        try:
            await _Connection(trio.SocketStream(accepted), respond, guard).run()
        except* (OSError, trio.BrokenResourceError, h11.RemoteProtocolError, trio.TooSlowError):
            pass  # it left, or it never spoke HTTP

    async with trio.open_nursery() as nursery:
        while True:
            await free.acquire()
            nursery.start_soon(serve_one, await _accept(listener))


async def _accept(listener: trio.socket.SocketType) -> trio.socket.SocketType:
    while True:
        try:
            accepted, _ = await listener.accept()
        except OSError:
            await trio.sleep(ACCEPT_PAUSE)  # broken before it was accepted, or no descriptor is free
        else:
            return accepted


class _Connection:
    """One question and its answer."""

    def __init__(self, stream: trio.SocketStream, respond: Respond, guard: Guard) -> None:
        self._stream = stream
        self._respond = respond
        self._guard = guard
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST)

    async def run(self) -> None:
        """Raises OSError, trio.BrokenResourceError, trio.TooSlowError, h11.RemoteProtocolError."""
        async with self._stream:
            with trio.fail_after(REQUEST_TIMEOUT):
                try:
                    request = await self._request()
                except h11.RemoteProtocolError as error:
                    refusal = text(f"this is no HTTP/1.1 request: {error}", HTTPStatus(error.error_status_hint))
                    await self._answer(refusal, head=False)
                    return
            if request is not None:
                answer = self._guard.refusal(request) or await self._respond(request)
                await self._answer(answer, head=request.method == "HEAD")

    async def _request(self) -> Request | None:
        """None where the connection was closed instead."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._stream.receive_some(CHUNK))
        if not isinstance(event, h11.Request):
            return None
        headers = tuple((name.decode(), value.decode("latin-1")) for name, value in event.headers)
        local = self._stream.socket.getsockname()
        return Request(event.method.decode(), event.target.decode("latin-1"), headers, (local[0], local[1]))

    async def _answer(self, answer: Answer, *, head: bool) -> None:
        own = {name.lower() for name, _ in answer.headers}
        headers = [pair for pair in HEADERS if pair[0].lower() not in own]
        headers += [("Content-Type", answer.media_type), *answer.headers]
        if answer.stream is None:
            headers.append(("Content-Length", str(len(answer.body))))
        start = h11.Response(status_code=answer.status, headers=headers)
        if head or answer.stream is None:
            await self._send(start, *([] if head else [h11.Data(data=answer.body)]))
        else:
            async with answer.stream as pieces:
                await self._send(start)
                await self._follow(pieces)
        await self._send(h11.EndOfMessage())
        await self._close_gently()

    async def _follow(self, pieces: AsyncIterator[bytes]) -> None:
        """Hand on what comes, until it ends or the reader has left."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_left, nursery.cancel_scope)
            async for piece in pieces:
                await self._send(h11.Data(data=piece))
            nursery.cancel_scope.cancel()

    async def _until_left(self, scope: trio.CancelScope) -> None:
        with contextlib.suppress(OSError, trio.BrokenResourceError):
            while await self._stream.receive_some(CHUNK):
                pass
        scope.cancel()

    async def _send(self, *events: h11.Event) -> None:
        data = b"".join(self._http.send(event) or b"" for event in events)
        with trio.fail_after(WRITE_TIMEOUT):
            await self._stream.send_all(data)

    async def _close_gently(self) -> None:
        """A close with unread bytes would reset what the reader still reads."""
        with trio.move_on_after(CLOSE_TIMEOUT):
            await self._stream.send_eof()
            while await self._stream.receive_some(CHUNK):
                pass
