"""Many connections through one forward: kept open at the same time, or one after another at a rate."""

from __future__ import annotations

from collections import Counter
from typing import Self

import trio

from tests.support.probe import get, outcome

REQUEST = b"GET /bytes?n=100 HTTP/1.1\r\nHost: load\r\n\r\n"


class Kept:
    """Connections that stay open; each asks when told to, and reads its whole answer.

    A context manager: at the end of the block all are closed.
    """

    def __init__(self) -> None:
        self.streams: list[trio.SocketStream] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self.streams:
            stream.socket.close()

    async def open(self, port: int, count: int) -> None:
        for _ in range(count):
            self.streams.append(await trio.open_tcp_stream("127.0.0.1", port))

    async def ask_all(self, at_once: int = 10_000) -> None:
        """Every one asks and gets its answer. Raises trio's exceptions, EOFError for a short answer."""
        for start in range(0, len(self.streams), at_once):
            async with trio.open_nursery() as nursery:
                for stream in self.streams[start : start + at_once]:
                    nursery.start_soon(_ask, stream)

    async def close(self, *, all_but: int = 0) -> None:
        """Close all but the last `all_but`."""
        leaving = self.streams[: len(self.streams) - all_but]
        self.streams = self.streams[len(leaving) :]
        for stream in leaving:
            await stream.aclose()


async def _ask(stream: trio.SocketStream) -> None:
    await stream.send_all(REQUEST)
    answer = b""
    while len(answer.partition(b"\r\n\r\n")[2]) < 100:
        data = await stream.receive_some(65536)
        if not data:
            raise EOFError
        answer += data


async def one_after_the_other(port: int, rate: float, seconds: float) -> Counter[str]:
    """New connections for a while at a fixed rate, each with one request; returns their verdicts."""
    fared: Counter[str] = Counter()

    async def one() -> None:
        found = await outcome(get(port))
        fared[found if isinstance(found, str) else str(found[0])] += 1

    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        for number in range(int(rate * seconds)):
            await trio.sleep_until(began + number / rate)
            nursery.start_soon(one)
    return fared
