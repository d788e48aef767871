"""Steady traffic over forwards, with every byte checked and every outcome counted, without retries.

Each forward has at the same time: short requests on their own connections, downloads and uploads one after another, and
a conversation on one connection that stays. Both ends hash: the app reports its digest of what it sent and received.
"""

from __future__ import annotations

import json
import math
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from hashlib import sha256
from random import Random

import trio

from tests.support.probe import get

SHORT, DOWNLOAD, UPLOAD, LINE = 1024, 400_000, 200_000, 4096
# Seconds from one short request of a forward to the next, and between two transfers or two lines.
SHORT_PAUSE, PAUSE = 0.2, 0.5
# Short requests of one forward that may wait at once, so that a minute without answers makes no flood.
AT_ONCE = 10
# Longer than portside holds a connection: a client without an answer by then gets none.
LATE = 40.0
READ = 65536


class Fate(StrEnum):
    """`error`: a reset, or no answer. `short`: a clean end too early, with correct bytes. `wrong`: other bytes."""

    OK = "ok"
    ERROR = "error"
    SHORT = "short"
    WRONG = "wrong"


@dataclass
class Tally:
    """The outcomes of a forward's exchanges. `notes`: a line for each that was not ok, bounded."""

    name: str
    counts: Counter[Fate] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, fate: Fate, note: str) -> None:
        self.counts[fate] += 1
        if fate is not Fate.OK and len(self.notes) < 20:
            self.notes.append(f"{self.name} {kind}: {fate} ({note})")


class JudgementError(Exception):
    """An exchange that was not ok: its fate and a short reason."""

    def __init__(self, fate: Fate, note: str) -> None:
        super().__init__(note)
        self.fate = fate


@dataclass(frozen=True)
class Target:
    """One pod's two forwards: HTTP and raw echo."""

    name: str
    http: int
    echo: int


class Traffic:
    """Runs over `targets` until `stop`. `tallies`: by the target's name."""

    def __init__(self, targets: Iterable[Target]) -> None:
        self.targets = {target.name: target for target in targets}
        self.tallies = {name: Tally(name) for name in self.targets}
        self.over = trio.Event()
        self._stopping = trio.Event()
        self._random = Random(0)
        self._expected: dict[int, bytes] = {}

    async def run(self) -> None:
        """Returns when stopped and every exchange has ended."""
        async with trio.open_nursery() as nursery:
            for target in self.targets.values():
                for load in (self._shorts, self._downloads, self._uploads, self._talk):
                    nursery.start_soon(load, target)
        self.over.set()

    def stop(self) -> None:
        self._stopping.set()

    async def learn(self) -> None:
        """The app's whole content, fetched once, with its digest compared."""
        port = next(iter(self.targets.values())).http
        for size in (SHORT, DOWNLOAD):
            status, headers, body = await get(port, f"/bytes?n={size}")
            assert status == 200
            assert sha256(body).hexdigest() == headers["x-sha256"]
            self._expected[size] = body

    async def answer(self, names: Iterable[str], times: int, timeout: float = 60) -> list[float]:
        """Waits until so many connections that begin now were answered on each forward; returns the seconds of each."""
        took: list[float] = []

        async def one(name: str) -> None:
            for _ in range(times):
                took.append(await self.first_answer(name, timeout))

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(one, name)
        return took

    async def first_answer(self, name: str, timeout: float = 60) -> float:
        """Seconds from now until a new connection is answered; several are tried at the same time."""
        began = trio.current_time()
        answered = trio.Event()

        async def attempt() -> None:
            with suppress(JudgementError):
                await self._download(self.targets[name], SHORT)
                answered.set()

        with trio.move_on_after(timeout) as scope:
            async with trio.open_nursery() as nursery:
                while not answered.is_set():
                    if len(nursery.child_tasks) < AT_ONCE:
                        nursery.start_soon(attempt)
                    with trio.move_on_after(SHORT_PAUSE):
                        await answered.wait()
                nursery.cancel_scope.cancel()
        assert not scope.cancelled_caught, f"{name} did not answer within {timeout:.0f} s: {self.tallies[name]}"
        return trio.current_time() - began

    # Loads

    async def _shorts(self, target: Target) -> None:
        room = trio.CapacityLimiter(AT_ONCE)

        async def one() -> None:
            async with room:
                await self._judged(target, "short", partial(self._download, target, SHORT))

        async with trio.open_nursery() as nursery:
            while not self._stopping.is_set():
                if room.available_tokens:
                    nursery.start_soon(one)
                await trio.sleep(SHORT_PAUSE)

    async def _downloads(self, target: Target) -> None:
        while not self._stopping.is_set():
            await self._judged(target, "download", partial(self._download, target, DOWNLOAD))
            await trio.sleep(PAUSE)

    async def _uploads(self, target: Target) -> None:
        while not self._stopping.is_set():
            await self._judged(target, "upload", partial(self._upload, target))
            await trio.sleep(PAUSE)

    async def _talk(self, target: Target) -> None:
        while not self._stopping.is_set():
            await self._judged(target, "conversation", partial(self._converse, target))
            await trio.sleep(PAUSE)

    async def _judged(self, target: Target, kind: str, exchange: Callable[[], Awaitable[None]]) -> None:
        fate, note = Fate.OK, ""
        try:
            await exchange()
        except JudgementError as judgement:
            fate, note = judgement.fate, str(judgement)
        self.tallies[target.name].add(kind, fate, note)

    # Exchanges

    async def _download(self, target: Target, size: int) -> None:
        async with _connected(target.http, LATE) as stream:
            await stream.send_all(f"GET /bytes?n={size} HTTP/1.1\r\nHost: chaos\r\n\r\n".encode())
            status, headers, rest = await _answer_head(stream)
            if status != 200:
                raise JudgementError(Fate.WRONG, f"status {status}")
            digest, at, expected = sha256(), 0, self._expected[size]
            async for piece in _body(stream, rest, size):
                if expected[at : at + len(piece)] != piece:
                    raise JudgementError(Fate.WRONG, f"other bytes from {at} on")
                digest.update(piece)
                at += len(piece)
            if digest.hexdigest() != headers["x-sha256"]:
                raise JudgementError(Fate.WRONG, "the app's digest is another")

    async def _upload(self, target: Target) -> None:
        body = self._random.randbytes(UPLOAD)
        head = f"POST /upload HTTP/1.1\r\nHost: chaos\r\nContent-Length: {len(body)}\r\n\r\n"
        async with _connected(target.http, LATE) as stream:
            await stream.send_all(head.encode() + body)
            status, headers, rest = await _answer_head(stream)
            text = b"".join([piece async for piece in _body(stream, rest, int(headers["content-length"]))])
            said = json.loads(text) if status == 200 else {}
            if said != {"count": len(body), "sha256": sha256(body).hexdigest()}:
                raise JudgementError(Fate.WRONG, f"status {status}, the app got {text[:80]!r}")

    async def _converse(self, target: Target) -> None:
        async with _connected(target.echo, math.inf) as stream:
            while not self._stopping.is_set():
                line = secrets.token_bytes(LINE)
                with _deadline(LATE):
                    await stream.send_all(line)
                    heard = b"".join([piece async for piece in _body(stream, b"", LINE)])
                if heard != line:
                    raise JudgementError(Fate.WRONG, "another echo")
                self.tallies[target.name].add("line", Fate.OK, "")
                await trio.sleep(PAUSE)


@asynccontextmanager
async def _connected(port: int, seconds: float) -> AsyncIterator[trio.SocketStream]:
    """A connection whose every failure is a JudgementError."""
    try:
        with _deadline(seconds):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                yield stream
    except (OSError, trio.BrokenResourceError) as error:
        raise JudgementError(Fate.ERROR, type(error.__cause__ or error).__name__) from error


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise JudgementError(Fate.ERROR, "late") from None


async def _answer_head(stream: trio.SocketStream) -> tuple[int, dict[str, str], bytes]:
    """Status, headers with lower-case names, and the bytes after the head."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await _more(stream, len(data), "the head")
    head, _, rest = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return (
        int(status.split()[1]),
        {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)},
        rest,
    )


async def _body(stream: trio.SocketStream, first: bytes, size: int) -> AsyncIterator[bytes]:
    """`size` bytes in pieces; `first`: bytes already received."""
    at, piece = 0, first
    while True:
        if piece:
            yield piece
        at += len(piece)
        if at >= size:
            return
        piece = await _more(stream, at, str(size))


async def _more(stream: trio.SocketStream, got: int, of: str) -> bytes:
    data = await stream.receive_some(READ)
    if not data:
        raise JudgementError(Fate.SHORT, f"an end after {got} of {of}")
    return bytes(data)
