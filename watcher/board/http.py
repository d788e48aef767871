"""Owns the status address: what programs may ask over HTTP (contract.md). Reads the board, changes nothing.

Refuses everything but GET, and Hosts other than this machine's, so that a web page elsewhere finds nothing
(DNS rebinding). starlette and hypercorn are imported late: forwards come first.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, cast

import msgspec
import trio

from watcher.board import records
from watcher.board.board import Board
from watcher.errors import UsageError

if TYPE_CHECKING:
    from hypercorn.config import Config
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    Serve = Callable[[ASGIApp, Config], Awaitable[None]]

# Status connections the kernel queues; people and scripts, not load.
BACKLOG = 64


def parse_address(text: str) -> tuple[str, int] | None:
    """`ADDR:PORT` or `off` (None). Raises UsageError."""
    if text == "off":
        return None
    host, colon, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5) or int(port) > 65535:
        raise UsageError(f"--status {text}: expected ADDR:PORT (such as 127.0.0.1:0) or off")
    if host != "localhost":
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            raise UsageError(f"--status {text}: {host!r} is not an IP address") from None
        if not loopback:
            raise UsageError(f"--status {text}: only loopback addresses are served; use 127.0.0.1:PORT")
    return host, int(port)


def listen(address: tuple[str, int]) -> socket.socket:
    """The bound status socket. Raises UsageError where the port is taken."""
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise UsageError(
            f"--status {host}:{port} cannot be bound: {error.strerror}; give another port, or off"
        ) from error
    return sock


def url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return records.url(host, port)


async def serve(sock: socket.socket, board: Board) -> None:
    """Serves until cancelled. A failure here is logged by the caller and costs no forward."""
    # The import takes some 150 ms of CPU: in a thread, so that what is being forwarded meanwhile hardly notices.
    hypercorn_serve, config = await trio.to_thread.run_sync(_prepare, sock)
    await hypercorn_serve(_without_lifespan(application(board)), config)


def _prepare(sock: socket.socket) -> tuple[Serve, Config]:
    import starlette.applications  # noqa: F401 - so that `application` finds it ready
    from hypercorn.config import Config
    from hypercorn.trio import serve as hypercorn_serve

    config = Config()
    # hypercorn closes the descriptor that it is given.
    config.bind = [f"fd://{os.dup(sock.fileno())}"]
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.graceful_timeout = 0
    return cast("Serve", hypercorn_serve), config


def _without_lifespan(app: Starlette) -> ASGIApp:
    """There is nothing to start or end with the server; hypercorn asks all the same and takes this for an answer."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await app(scope, receive, send)

    return served


def application(board: Board) -> Starlette:
    """The routes of the contract over this board."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        if board.ready:
            return PlainTextResponse("ok\n")
        waiting = "" if board.settled else "the first deploy and the first lists are awaited\n"
        lines = [f"{record.state} {record.id} {record.reason}".rstrip() + "\n" for record in board.not_ready]
        return PlainTextResponse(waiting + "".join(lines), status_code=503)

    async def forwards(_: Request) -> Response:
        counts = board.counters()
        return _json([records.counted(record, counts.get(ident)) for ident, record in board.forwards.items()])

    async def explain(_: Request) -> Response:
        return _json(await board.explain())

    async def events(_: Request) -> Response:
        return StreamingResponse(_events(board), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/v1/forwards", forwards, methods=["GET"]),
            Route("/v1/explain", explain, methods=["GET"]),
            Route("/v1/events", events, methods=["GET"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])],
    )


def _json(value: object) -> Response:
    from starlette.responses import Response

    return Response(msgspec.json.encode(value), media_type="application/json")


async def _events(board: Board) -> AsyncIterator[bytes]:
    subscription = board.subscribe()
    try:
        while True:
            for record in await subscription.next():
                yield b"data: " + msgspec.json.encode(record) + b"\n\n"
    except trio.EndOfChannel:
        return
    finally:
        board.unsubscribe(subscription)
