"""Clients that connect and wait, and what is seen of them."""

from __future__ import annotations

import socket
from collections.abc import Callable

import trio
import trio.testing

from tests.forwarders.cluster import greeter
from tests.forwarders.peer import PeerStream
from tests.forwarders.running import Running

HOST = "127.0.0.1"
NOTHING_LISTENS = "nothing listens on 80 in pod a: connection refused"
OPENED: list[socket.socket] = []


def client(port: int, data: bytes = b"") -> socket.socket:
    sock = socket.create_connection((HOST, port), timeout=5)
    OPENED.append(sock)
    sock.sendall(data)
    return sock


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - of the mock clock
            await trio.sleep(0.01)


def held(running: Running) -> int:
    return running.fleet.counters()["one"].held


def reason(running: Running) -> str:
    return [status for status in running.statuses if status.id == "one"][-1].reason


class Recorder:
    """An application that reads one message of each connection and answers; what it read, in order."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def __call__(self, stream: PeerStream) -> None:
        self.heard.append(await stream.receive_some())
        await greeter("a")(stream)
