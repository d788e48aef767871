"""Owns one live SPDY session to a pod: its reader, its writer, its health, the tunnels on it.

Refuses to choose: which session a connection gets is the pool's business. A tunnel's end never ends the session;
a session's end ends its tunnels, each with an error.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable

import trio

from forwarders.errors import WireError
from forwarders.ghosts import ResetStreams
from forwarders.health import ANSWER_TIMEOUT, Health
from forwarders.overdraft import Overdraft
from forwarders.tasks import Notifier
from forwarders.transports.channel import Channel
from forwarders.transports.sockets import Piece
from forwarders.tunnel import Tunnel, TunnelError, classify
from forwarders.wire.portforward import (
    PairData,
    PairEof,
    PairEvent,
    PairFinished,
    PortForward,
    SessionEnding,
    StrayData,
)
from forwarders.writer import SessionLostError, SilentError, Writer

logger = logging.getLogger("portside.sessions")

# Bytes queued for the socket before senders wait: several frames, so that the writer never runs dry.
SEND_LIMIT = 512 * 1024
# Read at once, this much says that the channel has more: others have a turn first. After less the next read waits.
TURN_SIZE = 64 * 1024
# One read can hold 20,000 PINGs, which take 100 ms: so many frames take a millisecond, then others have a turn.
FRAMES_A_TURN = 128
# After a pair's data ended, its error stream ends in the same moment. If it does not, the end counts as good.
FINISH_TIMEOUT = 2.0
# A dial is local to the pod: milliseconds, or never.
UNDIALLED_AFTER = 1.0
# An answer to a PING takes one round trip.
RETIRE_TIMEOUT = 2.0
# Beside a download that nobody takes its PINGs may be slow, and every moment costs bandwidth.
HAUNTED_TIMEOUT = 0.5
# A reader that is only slower than the pod makes its session pause many times a second: not worth a word.
STALLED_AFTER = 0.1


class Session:
    """`run` serves until the session is over.

    `on_room` is called when another connection has room here; `on_change` when the session's health has changed.
    """

    def __init__(
        self,
        channel: Channel,
        received: bytes,
        on_change: Callable[[], None],
        on_room: Callable[[Session], None],
        overdraft: Overdraft | None = None,
    ) -> None:
        self._channel = channel
        self._first = received
        self._on_change = on_change
        self._on_room = on_room
        self._wire = PortForward()
        self._tunnels: dict[int, Tunnel] = {}
        self._writer = Writer(channel, self._wire)
        self._progress = Notifier()
        self._health = Health(self._wire, lambda: bool(self._tunnels), self._writer.flush, on_change)
        self._loss: SessionLostError | None = None
        self._scope = trio.CancelScope()
        self._retired = trio.Event()
        self.ending = False
        self.dismissed = False  # by the peer, which serves no new connection here
        self.useful = False  # it has carried bytes from the pod
        self.idle_since = trio.current_time()
        self._was_usable = True
        self._held_up_since = math.inf
        self._overdraft = overdraft or Overdraft()
        self._overdrawn: list[Tunnel] = []
        self._reset_streams = ResetStreams()
        self._haunted = False

    # For the pool

    @property
    def load(self) -> int:
        """Open connections."""
        return len(self._tunnels)

    @property
    def usable(self) -> bool:
        """Whether a new connection may be put here."""
        trusted = not (self.ending or self._health.paused or self._health.doubtful or self._has_slow_reader)
        return trusted and self._wire.can_open() and self._wire.can_probe()

    @property
    def _has_slow_reader(self) -> bool:
        """Whether somebody leaves more unread than he may alone: the session may stop for him at any time."""
        self._overdrawn = [tunnel for tunnel in self._overdrawn if tunnel.full]
        return bool(self._overdrawn)

    @property
    def doubtful(self) -> bool:
        """Whether the peer owes a sign of life."""
        return self._health.doubtful

    def check(self) -> None:
        """The process slept: ask at once whether the session still lives."""
        self._health.check()

    def open(self, port: int) -> Tunnel:
        """A tunnel to `port` in the pod; nothing is waited for, bytes can be written at once."""
        pair = self._wire.open(port)
        tunnel = self._tunnels[pair] = Tunnel(self, pair)
        self._was_usable = self.usable
        self._writer.wake()
        if len(self._tunnels) == 1:
            self._health.grew_busy()
        return tunnel

    def close(self) -> None:
        """End the session and what is on it. Never waits: the end of the connection is the end of it at both sides."""
        self.ending = True
        self._scope.cancel()

    def retire(self) -> None:
        """No connection is left: end the session once the runtime has taken what they sent, or after RETIRE_TIMEOUT."""
        self.ending = True
        self._retired.set()

    def silent(self) -> list[Tunnel]:
        """Connections for which nothing has come."""
        return [tunnel for tunnel in self._tunnels.values() if not tunnel.received]

    def take_undialled(self) -> Tunnel | None:
        """The session's only connection, if the runtime never dialled for it: detached, and the session is closed.

        Seen when an application ends in the moment of the dial: the runtime's connect(2) hangs in a network namespace
        that is gone. Nothing came back, and for UNDIALLED_AFTER seconds the runtime has not taken what was sent though
        it goes on otherwise. Asks for that proof where there is none yet, so ask again.
        """
        if len(self._tunnels) != 1:
            return None
        pair, tunnel = next(iter(self._tunnels.items()))
        if tunnel.received:
            return None
        if not self._wire.held_up(pair):
            self._held_up_since = math.inf
            self._wire.prove(pair, self._wire.mark(pair))
            self._writer.wake()
            return None
        self._held_up_since = min(self._held_up_since, trio.current_time())
        if trio.current_time() - self._held_up_since < UNDIALLED_AFTER:
            return None
        del self._tunnels[pair]
        self.close()
        return tunnel

    async def run(self) -> None:
        """Returns after `close`; raises SessionLostError when the session is over, whatever ended it."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._until_lost, self._writer.run)
                    nursery.start_soon(self._until_lost, self._watch_health)
                    nursery.start_soon(self._retire)
                    nursery.start_soon(self._until_lost, self._read, nursery)
        finally:
            self.ending = True
            for pair in list(self._tunnels):
                self._finish(pair, TunnelError(str(self._loss or "the session to the pod was closed")))
            self._writer.written.fire()
            self._progress.fire()
            self._channel.close()
        if self._loss is not None:
            raise self._loss

    async def _until_lost(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        """A loss ends all tasks but never travels in an exception group, where it could hide beside a Cancelled."""
        try:
            await task(*args)
        except SessionLostError as error:
            self._loss = self._loss or error
            self._scope.cancel()

    # For its tunnels

    async def wait_room(self, pair: int) -> None:
        """Waits for the peer's credit and for room in the queue, or for the pair's end."""
        while pair in self._tunnels:
            if not self._wire.can_send(pair):
                await self._progress.wait()
            elif self._wire.pending >= SEND_LIMIT:
                await self._writer.written.wait()
            else:
                return

    async def send(self, pair: int, data: Piece) -> None:
        """One frame, once there is room. Does nothing once the pair is over."""
        await self.wait_room(pair)
        if pair in self._tunnels and self._wire.send(pair, data):
            self._writer.push()

    def send_eof(self, pair: int) -> None:
        self._wire.send_eof(pair)
        self._writer.wake()

    def abort(self, pair: int) -> None:
        stream = self._wire.abort(pair)
        if stream is not None:
            self._reset_streams.add(stream)
        self._writer.push()
        self._remove(pair)

    async def confirm(self, pair: int) -> bool:
        if pair not in self._tunnels:
            return False
        mark = self._wire.mark(pair)
        while pair in self._tunnels:
            if self._wire.passed(pair, mark):
                return True
            self._wire.prove(pair, mark)
            self._writer.wake()
            await self._progress.wait()
        return False

    # Tasks

    async def _read(self, nursery: trio.Nursery) -> None:
        data = self._first
        while True:
            if data:
                await self._receive(nursery, data)
                if len(data) >= TURN_SIZE:
                    await trio.lowlevel.checkpoint()
            try:
                data = await self._channel.receive()
            except (OSError, trio.ClosedResourceError) as error:
                raise SessionLostError(f"the session to the pod broke: {error}") from error
            if not data:
                raise SessionLostError("the API server closed the session to the pod")

    async def _receive(self, nursery: trio.Nursery, data: bytes) -> None:
        size = len(data)
        await self._turn(nursery, data, size)
        while self._wire.more:
            await trio.lowlevel.checkpoint()
            await self._turn(nursery, b"", size)

    async def _turn(self, nursery: trio.Nursery, data: bytes, size: int) -> None:
        """Some frames of the `size` bytes that were read at once."""
        try:
            events = self._wire.receive_data(data, FRAMES_A_TURN)
        except WireError as error:
            raise SessionLostError(f"the session to the pod is not SPDY any more: {error}") from error
        self._health.heard()
        fed = self._take_in(nursery, events, size)
        for tunnel in fed:
            tunnel.tell()
        self._progress.fire()
        if self._wire.pending:
            self._writer.wake()
        self._look_for_room()
        if full := [tunnel for tunnel in fed if tunnel.full]:
            if self.load > 1 and all(self._overdraft.covers(tunnel) for tunnel in full):
                self._overdrawn = [*(tunnel for tunnel in self._overdrawn if tunnel not in fed), *full]
                self._was_usable = False
            else:
                await self._pause(full)

    def _take_in(self, nursery: trio.Nursery, events: list[PairEvent], size: int) -> dict[Tunnel, None]:
        """Which tunnels have got something."""
        fed: dict[Tunnel, None] = {}
        half_done: list[int] = []
        for event in events:
            match event:
                case PairData(pair, piece):
                    # A small piece is no reason to keep all that came with it.
                    self._feed(pair, piece if 2 * len(piece) > size else bytes(piece), fed)
                case PairFinished(pair, text):
                    self._finish(pair, classify(text) if text else None)
                case PairEof(pair):
                    half_done.append(pair)
                case StrayData(stream):
                    self._drop_stray(stream)
                case SessionEnding():
                    self.ending = self.dismissed = True
                    self._on_change()
        for pair in self._tunnels.keys() & half_done:
            nursery.start_soon(self._finish_late, pair)
        return fed

    def _feed(self, pair: int, piece: Piece, fed: dict[Tunnel, None]) -> None:
        tunnel = self._tunnels.get(pair)
        if tunnel is not None:
            self.useful = True
            tunnel.feed(piece)
            fed[tunnel] = None

    def _drop_stray(self, stream: int) -> None:
        """An application sends on though its client has left: only the session's end stops it, so that is prepared."""
        if not self._haunted and self._reset_streams.is_ghost(stream):
            logger.debug("an application sends on after its client left: no new connection on this session")
            self._haunted = self.ending = True
            self._on_change()

    async def _pause(self, full: list[Tunnel]) -> None:
        """Stop reading until slow local readers have caught up; only this session's connections wait meanwhile."""
        self._health.pause()
        try:
            with trio.move_on_after(STALLED_AFTER) as patience:
                await _drained(full)
            if patience.cancelled_caught:
                logger.debug("a local client does not read: its session waits, %d connections", self.load)
                await _drained(full)
        finally:
            self._health.resume()
            self._reset_streams.read_again()
        self._on_change()

    async def _watch_health(self) -> None:
        await self._health.watch()
        raise SilentError(f"the session to the pod gave no sign of life for {ANSWER_TIMEOUT:.0f} s")

    def _look_for_room(self) -> None:
        """What came may have made room for another connection."""
        if not self._was_usable and self.usable:
            self._was_usable = True
            self._on_room(self)

    async def _retire(self) -> None:
        await self._retired.wait()
        with trio.move_on_after(HAUNTED_TIMEOUT if self._haunted else RETIRE_TIMEOUT):
            if not self._wire.settled and self._wire.can_probe():
                self._wire.probe()
                self._writer.wake()
            while not self._wire.settled:
                await self._progress.wait()
        self.close()

    # Bookkeeping

    async def _finish_late(self, pair: int) -> None:
        tunnel = self._tunnels.get(pair)
        if tunnel is None:
            return
        with trio.move_on_after(FINISH_TIMEOUT):
            await tunnel.wait_finished()
        # An error text may still be on its way, through a stalled path or into a paused session. An answer to what
        # is asked now comes behind it.
        if pair in self._tunnels and self._wire.can_probe():
            self._wire.probe()
        if await self.confirm(pair):
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
            self._writer.written.fire()
            self._on_room(self)


async def _drained(full: list[Tunnel]) -> None:
    for tunnel in full:
        await tunnel.wait_drained()
