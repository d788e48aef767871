"""The connections of one sequence: siblings, which must deliver every byte, and troublemakers beside them.

The order comes from `machine.py`. Everything runs in its own task, so that one may hang while the next begins.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio
from msgspec import Struct

from fixtures.net.way import reset
from forwarders.session_io import UNREAD_OF_ONE
from forwarders.session_set import SHARED
from tests.support.probe import get
from tests.support.process import Portside

PATIENCE = 60.0
# A client behind Ethernet with a small buffer. Linux keeps some 220 KB for one that does not read (over plain loopback
# 4 MB), portside what it writes (768 KiB at most) and as much beside it, or UNREAD_OF_ONE where it shares its session:
# by then its session has paused.
SEGMENT, SMALL_BUFFER = 1400, 16 * 1024
ENDLESS = 4 * UNREAD_OF_ONE
# Bytes of a download before its reset.
SOME = 64 * 1024
# The line in portside's log for a session that has paused.
STUCK = "does not read: its session waits"
PATTERN = random.Random("portside").randbytes(1 << 20)


_WRONG = (AssertionError, OSError, EOFError, trio.BrokenResourceError)


class Place(Struct, frozen=True):
    """A portside and its local ports, all to one pod: HTTP, an echo server, and a port where nothing listens.

    `direct`: its connections go past the API server, so none shares a session and none waits for another's reader.
    """

    program: Portside
    direct: bool
    http: int
    echo: int
    refused: int


class Echo:
    """A sibling that lives as long as the sequence. It must receive what it sent, to the byte."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._position = 0
        self._turn = trio.Lock()

    async def talk(self, size: int) -> None:
        async with self._turn:
            start = self._position % (len(PATTERN) - size)
            self._position += size
            said = PATTERN[start : start + size]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.stream.send_all, said)
                heard = b""
                while len(heard) < size:
                    data = await self.stream.receive_some()
                    assert data, f"an echo ended after {self._position - size + len(heard)} bytes"
                    heard += data
            assert heard == said, f"an echo heard something else within {self._position} bytes"


class Crowd:
    """`problems`: siblings that failed, and troublemakers that were served after all."""

    def __init__(self, place: Place, nursery: trio.Nursery) -> None:
        self.problems: list[str] = []
        self.echoes: list[Echo] = []
        self._place = place
        self._nursery = nursery
        self._siblings: list[str] = []
        self._troublemakers: list[str] = []
        self._stalled = 0
        self._numbers = itertools.count()
        self._changed = trio.Event()
        self._release = trio.Event()

    @property
    def size(self) -> int:
        """The number of open connections."""
        return len(self.echoes) + len(self._siblings) + len(self._troublemakers)

    # Siblings

    async def echo(self) -> None:
        self.echoes.append(Echo(await trio.open_tcp_stream("127.0.0.1", self._place.echo)))

    def talk(self, which: int, size: int) -> None:
        number = which % len(self.echoes)
        self._start(self._siblings, f"echo {number}", self.echoes[number].talk(size))

    def download(self, size: int) -> None:
        self._start(self._siblings, f"{next(self._numbers)}: download of {size} bytes", self._download(size))

    def upload(self, size: int) -> None:
        self._start(self._siblings, f"{next(self._numbers)}: upload of {size} bytes", self._upload(size))

    @property
    def _waiting(self) -> int:
        """Siblings that have not delivered yet; an echo may have been used several times."""
        return len(set(self._siblings))

    async def _download(self, size: int) -> None:
        status, headers, body = await get(self._place.http, f"/bytes?n={size}")
        assert (status, len(body)) == (200, size)
        assert hashlib.sha256(body).hexdigest() == headers["x-sha256"], f"a download of {size} bytes is wrong"

    async def _upload(self, size: int) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", self._place.http) as stream:
            await stream.send_all(_post(size) + PATTERN[:size])
            answer = b""
            while not answer.endswith(b"}\n"):
                data = await stream.receive_some()
                assert data, f"an upload of {size} bytes has no answer: {answer!r}"
                answer += data
        taken = json.loads(answer[answer.index(b"{") :])
        assert taken == {"count": size, "sha256": hashlib.sha256(PATTERN[:size]).hexdigest()}

    # Troublemakers

    async def stall(self, *, stuck: bool) -> None:
        """Requests much and reads nothing. `stuck`: returns when a session waits for such a reader, if any can."""
        program = self._place.program
        said = program.stderr.count(STUCK)
        self._stalled += 1
        self._start(self._troublemakers, "stalled reader", self._stall())
        if stuck and not self._place.direct:
            await program.wait_for(lambda _: program.stderr.count(STUCK) > said)

    def reset_in_mid_download(self) -> None:
        self._start(self._troublemakers, "reset in mid-download", self._reset_in_mid_download())

    def knock_at_the_refused_port(self, *, stays: bool) -> None:
        """portside dials 40 times a second for one that stays to the end; else until one more sibling is served."""
        until = self._release.wait if stays else partial(self._download, 1000)
        self._start(self._troublemakers, "refused port", self._knock(until))

    def abort_an_upload(self, size: int) -> None:
        """After so many bytes of an endless one."""
        self._start(self._troublemakers, f"upload aborted after {size} bytes", self._abort_an_upload(size))

    async def _stall(self) -> None:
        async with self._endless_download():
            await self._release.wait()

    async def _reset_in_mid_download(self) -> None:
        async with self._endless_download() as stream:
            got = 0
            while got < SOME:
                data = await stream.receive_some()
                assert data, f"a download of {ENDLESS} bytes ended after {got}"
                got += len(data)
            reset(stream)

    @asynccontextmanager
    async def _endless_download(self) -> AsyncIterator[trio.SocketStream]:
        sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        with sock:
            await sock.connect(("127.0.0.1", self._place.http))
            stream = trio.SocketStream(sock)
            await stream.send_all(f"GET /bytes?n={ENDLESS} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            yield stream

    async def _knock(self, until: Callable[[], Awaitable[None]]) -> None:
        """Held or reset, depending on the hold time; never answered."""
        async with (
            await trio.open_tcp_stream("127.0.0.1", self._place.refused) as stream,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._hang_up, nursery.cancel_scope, until)
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(b"anybody?")
                heard = await stream.receive_some()
                raise AssertionError(f"a port where nothing listens said {heard!r}")
            nursery.cancel_scope.cancel()

    async def _hang_up(self, scope: trio.CancelScope, until: Callable[[], Awaitable[None]]) -> None:
        await until()
        scope.cancel()

    async def _abort_an_upload(self, size: int) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", self._place.http) as stream:
            await stream.send_all(_post(ENDLESS) + PATTERN[:size])
            reset(stream)

    # The end

    async def siblings_deliver(self) -> None:
        """All of them, while the troublemakers stay."""
        await self._until(lambda: not self._siblings, "beside troublemakers")

    async def settle(self) -> None:
        """All siblings deliver. Those beside a stalled reader may do so after it is gone, the others before.

        At most SHARED - 1 wait with each (pool.py), in whatever order they came. One more than that come now.
        """
        patient = self._stalled * (SHARED - 1)
        for _ in range(patient + 1):
            self.download(1000)
        await self._until(lambda: self._waiting <= patient, "beside stalled readers")
        self._release.set()
        await self._until(lambda: not self._siblings and not self._troublemakers, "with nobody stalled any more")
        for number in range(0 if self.problems else len(self.echoes)):
            self.talk(number, 1000)
        await self._until(lambda: not self._siblings, "with nobody else there")

    async def _until(self, wanted: Callable[[], bool], when: str) -> None:
        with trio.move_on_after(PATIENCE):
            while not wanted() and not self.problems:
                self._changed = trio.Event()
                await self._changed.wait()
            return
        self.problems.append(f"stuck {when}: {self._siblings}, {self._troublemakers}")

    def _start(self, among: list[str], name: str, work: Awaitable[None]) -> None:
        """Runs `work`, listed under its name while it runs."""
        among.append(name)

        async def judged() -> None:
            try:
                await work
            except BaseExceptionGroup as group:
                found, other = group.split(_WRONG)
                if found is not None:
                    self.problems.append(f"{name}: {found.exceptions}")
                if other is not None:
                    raise
            except _WRONG as error:
                self.problems.append(f"{name}: {error!r}")
            among.remove(name)
            self._changed.set()

        self._nursery.start_soon(judged)


@asynccontextmanager
async def gathered(place: Place) -> AsyncIterator[Crowd]:
    """An empty crowd; connections left at the end are closed."""
    async with trio.open_nursery() as nursery:
        crowd = Crowd(place, nursery)
        try:
            yield crowd
        finally:
            nursery.cancel_scope.cancel()
            for echo in crowd.echoes:
                echo.stream.socket.close()


def _post(size: int) -> bytes:
    return f"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n\r\n".encode()
