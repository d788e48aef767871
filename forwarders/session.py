"""Owns one live SPDY session to a pod: its reader, its writer, its health, the tunnels on it.

Refuses to choose: which session a connection gets is the pool's business. A tunnel's end never ends the session;
a session's end ends its tunnels, each with an error.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

import trio

from forwarders.errors import ForwarderError
from forwarders.signals import Signal
from forwarders.transports.channel import Channel
from forwarders.transports.sockets import Piece
from forwarders.tunnel import Tunnel, TunnelError, classify
from forwarders.wire.errors import WireError
from forwarders.wire.portforward import PairData, PairEof, PairFinished, PortForward, SessionEnding

# Bytes queued for the socket before senders wait: several frames, so that the writer never runs dry.
SEND_LIMIT = 512 * 1024
# The credit keeps the peer's reader moving; a write that still does not get through in this time meets a dead path.
WRITE_TIMEOUT = 15.0
# A quiet session is asked whether it lives: often while it carries connections, so that death is known within 5 s,
# rarely while it is a spare (4 h is containerd's idle limit, minutes are a load balancer's).
BUSY_INTERVAL, IDLE_INTERVAL, ANSWER_TIMEOUT = 2.0, 20.0, 3.0
# After a pair's data ended, its error stream ends in the same moment. If it does not, the end counts as good.
FINISH_TIMEOUT = 2.0


class SessionLostError(ForwarderError):
    """The session is over; its tunnels are told."""


class Session:
    """`run` serves until the session is over. `on_change` is called when a connection ends or the health changes."""

    def __init__(self, channel: Channel, received: bytes, on_change: Callable[[], None]) -> None:
        self._channel = channel
        self._first = received
        self._on_change = on_change
        self._wire = PortForward()
        self._tunnels: dict[int, Tunnel] = {}
        self._to_write = Signal()
        self._written = Signal()
        self._progress = Signal()
        self._heard = 0.0
        self._paused = False
        self._opened = Signal()
        self._scope = trio.CancelScope()
        self.ending = False
        self.idle_since = trio.current_time()

    # For the pool

    @property
    def load(self) -> int:
        """Open connections."""
        return len(self._tunnels)

    @property
    def usable(self) -> bool:
        """Whether a new connection may be put here."""
        return not self.ending and not self._paused and self._wire.can_open()

    def open(self, port: int) -> Tunnel:
        """A tunnel to `port` in the pod; nothing is waited for, bytes can be written at once."""
        pair = self._wire.open(port)
        tunnel = self._tunnels[pair] = Tunnel(self, pair)
        self._to_write.fire()
        if len(self._tunnels) == 1:
            self._opened.fire()
        return tunnel

    def close(self) -> None:
        """End the session and what is on it."""
        self.ending = True
        self._scope.cancel()

    async def run(self) -> None:
        """Returns after `close`; raises SessionLostError when the session is over, whatever ended it."""
        try:
            with self._scope:
                await self._run()
        except* SessionLostError as group:
            raise _first(group) from None
        finally:
            self.ending = True
            self._channel.close()
            for pair in list(self._tunnels):
                self._finish(pair, TunnelError("the session to the pod was lost"))
            self._written.fire()
            self._progress.fire()

    async def _run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            nursery.start_soon(self._watch_health)
            nursery.start_soon(self._read, nursery)

    # For its tunnels

    async def send(self, pair: int, data: Piece) -> None:
        """Waits for the peer's credit and for room in the queue. Does nothing once the pair is over."""
        while pair in self._tunnels and not self._wire.can_send(pair):
            await self._progress.wait()
        while pair in self._tunnels and self._wire.pending >= SEND_LIMIT:
            await self._written.wait()
        if pair in self._tunnels and self._wire.send(pair, data):
            self._to_write.fire()

    def send_eof(self, pair: int) -> None:
        self._wire.send_eof(pair)
        self._to_write.fire()

    def abort(self, pair: int) -> None:
        self._wire.abort(pair)
        self._remove(pair)
        self._to_write.fire()

    async def confirm(self, pair: int) -> bool:
        if pair not in self._tunnels:
            return False
        mark = self._wire.mark(pair)
        self._to_write.fire()
        while pair in self._tunnels:
            if self._wire.passed(pair, mark):
                return True
            await self._progress.wait()
        return False

    # Tasks

    async def _read(self, nursery: trio.Nursery) -> None:
        data = self._first
        while True:
            if data:
                self._heard = trio.current_time()
                await self._receive(nursery, data)
            try:
                data = await self._channel.receive()
            except (OSError, ssl.SSLError, trio.ClosedResourceError) as error:
                raise SessionLostError(f"the session to the pod broke: {error}") from error
            if not data:
                raise SessionLostError("the API server closed the session to the pod")

    async def _receive(self, nursery: trio.Nursery, data: bytes) -> None:
        try:
            events = self._wire.receive_data(data)
        except WireError as error:
            raise SessionLostError(f"the session to the pod is not SPDY any more: {error}") from error
        full: set[Tunnel] = set()
        half_done: set[int] = set()
        for event in events:
            match event:
                case PairData(pair, piece):
                    self._feed(pair, piece, full)
                case PairFinished(pair, text):
                    self._finish(pair, classify(text) if text else None)
                case PairEof(pair):
                    half_done.add(pair)
                case SessionEnding():
                    self.ending = True
                    self._on_change()
        for pair in self._tunnels.keys() & half_done:
            nursery.start_soon(self._finish_late, pair)
        self._progress.fire()
        self._to_write.fire()
        if full:
            await self._pause(full)

    def _feed(self, pair: int, piece: Piece, full: set[Tunnel]) -> None:
        tunnel = self._tunnels.get(pair)
        if tunnel is not None:
            tunnel.feed(piece)
            if tunnel.full:
                full.add(tunnel)

    async def _pause(self, full: set[Tunnel]) -> None:
        """Stop reading until slow local readers have caught up; only this session's connections wait meanwhile."""
        self._paused = True
        try:
            for tunnel in full:
                await tunnel.wait_drained()
        finally:
            self._paused = False
            self._heard = trio.current_time()
        self._on_change()

    async def _write(self) -> None:
        while True:
            while self._wire.pending:
                data = self._wire.take()
                self._written.fire()
                try:
                    with trio.fail_after(WRITE_TIMEOUT):
                        await self._channel.send(data)
                except (OSError, ssl.SSLError, trio.ClosedResourceError) as error:
                    raise SessionLostError(f"the session to the pod broke: {error}") from error
                except trio.TooSlowError as error:
                    raise SessionLostError(f"nothing could be sent to the pod for {WRITE_TIMEOUT:.0f} s") from error
            await self._to_write.wait()

    async def _watch_health(self) -> None:
        self._heard = trio.current_time()
        while True:
            await self._wait_quiet()
            if self._paused or not self._wire.can_probe():
                # Nothing can be heard, or nothing may be asked: the kernel's own time-outs stand in.
                await trio.sleep(BUSY_INTERVAL)
                continue
            asked = trio.current_time()
            self._wire.probe()
            self._to_write.fire()
            await trio.sleep(ANSWER_TIMEOUT)
            if self._silent_since(asked):
                raise SessionLostError(f"the session to the pod gave no sign of life for {ANSWER_TIMEOUT:.0f} s")

    def _silent_since(self, asked: float) -> bool:
        return not self._paused and self._heard < asked

    async def _wait_quiet(self) -> None:
        while True:
            interval = BUSY_INTERVAL if self._tunnels else IDLE_INTERVAL
            left = self._heard + interval - trio.current_time()
            if left <= 0:
                return
            with trio.move_on_after(left):
                await self._opened.wait()

    # Bookkeeping

    async def _finish_late(self, pair: int) -> None:
        tunnel = self._tunnels.get(pair)
        if tunnel is None:
            return
        with trio.move_on_after(FINISH_TIMEOUT):
            await tunnel.wait_finished()
        if pair in self._tunnels:
            self._wire.abort(pair)
            self._finish(pair, None)

    def _finish(self, pair: int, error: TunnelError | None) -> None:
        tunnel = self._tunnels.get(pair)
        self._remove(pair)
        if tunnel is not None:
            tunnel.finish(error)

    def _remove(self, pair: int) -> None:
        if self._tunnels.pop(pair, None) is not None:
            if not self._tunnels:
                self.idle_since = trio.current_time()
            self._progress.fire()
            self._written.fire()
            self._on_change()


def _first(group: BaseExceptionGroup[SessionLostError]) -> SessionLostError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return SessionLostError(str(error))
