"""Helpers beside a Skaffold and its portsides: read its events to the end, and keep it redeploying."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import trio

from tests.support.skaffold import Project, Skaffold

LINE = "a line of a log"
# Seconds; the pauses between events of one dev loop are shorter.
_SILENCE = 0.3
_PATIENCE = 90


class Log:
    """Counts the lines of pods' logs among Skaffold's events as they arrive. This reader never leaves by itself."""

    def __init__(self, stream: trio.SocketStream, port: int) -> None:
        self._stream = stream
        self._port = port
        self._count = 0
        self._times: deque[float] = deque()  # of the last second's lines
        self._arrived = trio.Event()

    async def run(self) -> None:
        """Reads until Skaffold ends."""
        line, kept = LINE.encode(), b""
        async with self._stream:
            while data := await self._more():
                found = (kept + data).count(line)
                kept = (kept + data)[1 - len(line) :]
                self._count += found
                self._times.extend([trio.current_time()] * found)
                while self._times and self._times[0] < trio.current_time() - 1:
                    self._times.popleft()
                self._arrived.set()
                self._arrived = trio.Event()

    async def _more(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(1 << 16))
        except trio.BrokenResourceError:
            return b""

    async def lines(self, number: int) -> None:
        """Returns when so many arrived in all."""
        with trio.fail_after(_PATIENCE):
            while self._count < number:
                await self._arrived.wait()

    async def lines_a_second(self, number: int) -> None:
        """Returns when so many arrived within one second."""
        with trio.fail_after(_PATIENCE):
            while len(self._times) < number:
                await self._arrived.wait()

    async def silence(self) -> None:
        """Returns when no event is on its way, and every reader of this Skaffold has read all of them."""
        with trio.fail_after(_PATIENCE):
            silent = False
            while not silent or _unread(self._port):
                with trio.move_on_after(_SILENCE) as wait:
                    await self._arrived.wait()
                silent = wait.cancelled_caught


def _unread(port: int) -> bool:
    """Whether any connection to `port` has bytes that its owner has not read (proc(5), /proc/net/tcp)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(
        remote.endswith(f":{port:04X}") and not queues.endswith(":00000000") for _, _, remote, _, queues, *_ in rows
    )


async def reading(nursery: trio.Nursery, port: int) -> Log:
    """Counts the log lines of the Skaffold at `port`, in `nursery`, which must outlive that Skaffold.

    Start it before the log is long: in a long replay a reader may stop Skaffold (docs/design/skaffold-events.md).
    """
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(b"GET /v2/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    log = Log(stream, port)
    nursery.start_soon(log.run)
    return log


class Redeploying:
    """One change after another, each built and deployed, until `over`."""

    def __init__(self, project: Project, beside: Skaffold) -> None:
        self._project = project
        self._beside = beside
        self._version = 1
        self._scope = trio.CancelScope()

    @property
    def text(self) -> str:
        """The pods' content after the last change."""
        return f"hello from {self._project.namespace}, version {self._version}."

    async def run(self) -> None:
        with self._scope:
            while True:
                await self._change()

    async def over(self) -> None:
        """Returns when Skaffold has deployed all changes, and one more."""
        self._scope.cancel()
        await self._beside.idle(self._version)
        await self._change()

    async def _change(self) -> None:
        self._version += 1
        self._project.save(self.text)
        await self._beside.idle(self._version)
