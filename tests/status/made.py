"""Serves a status address while a block runs, and sends raw bytes to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import trio

from watcher.board.addresses import Address, is_loopback, listen, status_url
from watcher.board.board import Board
from watcher.board.http import server
from watcher.board.http.routes import Routes
from watcher.board.http.server import Guard

LOOPBACK = Address("127.0.0.1", 0)


@asynccontextmanager
async def served(board: Board, address: Address = LOOPBACK, *, token: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """A client of a status address that is served while the block runs."""
    with listen(address) as sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, sock, Routes(board), Guard(token, loopback=is_loopback(address.host)))
            async with httpx.AsyncClient(base_url=status_url(sock), timeout=60, trust_env=False) as client:
                yield client
            nursery.cancel_scope.cancel()


def port_of(client: httpx.AsyncClient) -> int:
    assert client.base_url.port
    return client.base_url.port


async def ask(client: httpx.AsyncClient, question: bytes) -> bytes:
    """Everything that comes back for these bytes."""
    async with await trio.open_tcp_stream(client.base_url.host.strip("[]"), port_of(client)) as stream:
        with trio.fail_after(60):
            await stream.send_all(question)
            return b"".join([data async for data in stream])
