"""The prober: a small GET on a new connection every 20 ms, each judged, without retries.

A failure is a refused, reset, short, wrong or late answer. "Late" is later than the hold time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from hashlib import sha256

import trio

from tests.support.process import Portside

INTERVAL = 0.02
LATE = 31.0
SIZE = 1024

# Status, headers with lower-case names, body.
Answer = tuple[int, dict[str, str], bytes]


class Verdicts:
    """The results of the connections: `ok`, and every failure by its kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0
        self._judged = trio.Event()

    def add(self, verdict: str, seconds: float) -> None:
        self.counts[verdict] += 1
        self.slowest = max(self.slowest, seconds)
        self._judged.set()

    async def good(self, more: int, timeout: float = 60) -> None:
        """Wait until so many more connections succeeded, or one failed."""
        enough = self.counts["ok"] + more
        with trio.fail_after(timeout):
            while self.counts["ok"] < enough and not self.failures:
                self._judged = trio.Event()
                await self._judged.wait()

    @property
    def failures(self) -> dict[str, int]:
        return {kind: count for kind, count in self.counts.items() if kind != "ok"}


async def get(port: int, path: str = f"/bytes?n={SIZE}", host: str = "127.0.0.1", method: str = "GET") -> Answer:
    """One request on its own connection. Raises OSError, trio.BrokenResourceError, EOFError for a short answer."""
    stream = await trio.open_tcp_stream(host, port)
    async with stream:
        length = "" if method == "GET" else "Content-Length: 0\r\n"
        request = f"{method} {path} HTTP/1.1\r\nHost: probe\r\nAccept: */*\r\n{length}\r\n"
        await stream.send_all(request.encode())
        return await _response(stream)


async def _response(stream: trio.SocketStream) -> Answer:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await _more(stream)
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += await _more(stream)
    return int(status.split()[1]), headers, body


async def _more(stream: trio.SocketStream) -> bytes:
    data = await stream.receive_some(65536)
    if not data:
        raise EOFError("the answer is short")
    return bytes(data)


@asynccontextmanager
async def probing(port: int, interval: float = INTERVAL) -> AsyncIterator[Verdicts]:
    """Probe during the block, then wait for the connections that are still open."""
    verdicts = Verdicts()
    stop = trio.Event()
    async with trio.open_nursery() as nursery:

        async def start_them() -> None:
            at = trio.current_time()
            while not stop.is_set():
                nursery.start_soon(_probe, port, verdicts)
                at += interval
                await trio.sleep_until(at)

        nursery.start_soon(start_them)
        yield verdicts
        stop.set()


async def _probe(port: int, verdicts: Verdicts) -> None:
    started = trio.current_time()
    verdict = await _judge(port)
    verdicts.add(verdict, trio.current_time() - started)


async def outcome(request: Awaitable[Answer]) -> Answer | str:
    """The answer, or the kind of failure: late, short or the error's name."""
    try:
        with trio.fail_after(LATE):
            return await request
    except trio.TooSlowError:
        return "late"
    except EOFError:
        return "short"
    except (OSError, trio.BrokenResourceError) as error:
        return type(error.__cause__ or error).__name__


async def _judge(port: int) -> str:
    found = await outcome(get(port))
    if isinstance(found, str):
        return found
    status, headers, body = found
    good = status == 200 and len(body) == SIZE and sha256(body).hexdigest() == headers["x-sha256"]
    return "ok" if good else f"wrong answer, status {status}"


async def reach_directly(running: Portside, name: str, remote_port: int) -> int:
    """The local port of an HTTP forward, once its connections go to the pod's own address."""
    port: int = (await running.ready(name, remotePort=remote_port))["localPort"]
    with trio.fail_after(60):
        while (running.last(name, remotePort=remote_port) or {}).get("via") != "pod":
            assert (await get(port))[0] == 200
            await trio.sleep(0.05)
    return port
