"""One live SPDY session to a pod and the tunnels on it.

Which session a connection gets is the pool's choice. A tunnel's end never ends the session; a session's end ends its
tunnels, each with an error.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from forwarders.errors import DialError, SessionLostError, TunnelError
from forwarders.health import SessionHealth
from forwarders.session_io import ResetStreams, SessionEvent, SessionReader, SessionWriter, SlowReaders, UnreadBudget
from forwarders.tasks import Notifier, session_turns
from forwarders.transports.sockets import Channel, Piece
from forwarders.tunnel import Tunnel, classify
from forwarders.wire.portforward import PairData, PairEof, PairEvent, PairFinished, PortForward
from forwarders.wire.streams import GoAwayReceived, StrayDataReceived

logger = logging.getLogger("portside.sessions")

# Bytes queued for the socket before senders wait: several frames, so that the writer never runs dry.
SEND_LIMIT = 512 * 1024
# After a pair's data ended, its error stream ends in the same moment. If it does not, the end counts as good.
FINISH_TIMEOUT = 2.0
# An answer to a PING takes a round trip; beside a download that nobody takes it may be slow, which costs bandwidth.
RETIRE_TIMEOUT, HAUNTED_TIMEOUT = 2.0, 0.5


class Session:
    """Carries the tunnels of one SPDY connection. `on_event` is called for each change that matters to the pool."""

    def __init__(
        self,
        channel: Channel,
        received: bytes,
        on_event: Callable[[Session, SessionEvent], None],
        budget: UnreadBudget | None = None,
    ) -> None:
        self._channel = channel
        self._on_event = on_event
        self._wire = PortForward()
        self._tunnels: dict[int, Tunnel] = {}
        self._reader = SessionReader(channel, self._wire, received)
        self._writer = SessionWriter(channel, self._wire)
        self._slow_readers = SlowReaders(budget or UnreadBudget())
        self._reset_streams = ResetStreams()
        self._health = SessionHealth(self._wire, lambda: bool(self._tunnels), self._writer.flush, self._health_changed)
        self._progress = Notifier()
        self._loss: SessionLostError | None = None
        self._scope = trio.CancelScope()
        self._retired = trio.Event()
        self._haunted = False
        self.awaits_room = False  # ROOM is to be reported once the session is usable again
        self.ending = False
        self.useful = False  # it has carried bytes from the pod
        self.idle_since = trio.current_time()
        self.in_burst = False  # several short connections share it: what they send goes out in one write
        self.last_lifetime: float | None = None  # seconds that the last one to end was open; None if it got no answer

    # For the pool

    @property
    def load(self) -> int:
        """How many connections are open on this session."""
        return len(self._tunnels)

    @property
    def busy_for(self) -> float:
        """For how many seconds the oldest connection has been open; 0 if there is none."""
        oldest = next(iter(self._tunnels.values()), None)
        return 0.0 if oldest is None else trio.current_time() - oldest.opened_at

    @property
    def usable(self) -> bool:
        """Whether a new connection may be opened here."""
        return self._trusted and self._wire.can_open()

    @property
    def testable(self) -> bool:
        """Whether a test dial may be opened here: also where stuck workers leave no room for a connection."""
        return self._trusted and self._wire.can_open_apart()

    @property
    def _trusted(self) -> bool:
        return not (self.ending or self._health.paused or self._health.doubtful or self._slow_readers.present())

    @property
    def doubtful(self) -> bool:
        """Whether the peer has not answered a PING in time."""
        return self._health.doubtful

    def check(self) -> None:
        """Send a PING at once, because the process slept: the session is doubtful until the answer."""
        self._health.check()

    def open(self, port: int) -> Tunnel:
        """Open a tunnel to `port` in the pod. Does not wait: bytes can be written to the tunnel at once."""
        pair = self._wire.open(port)
        tunnel = self._tunnels[pair] = Tunnel(self, pair)
        self._writer.wake()
        if len(self._tunnels) == 1:
            self._health.grew_busy()
        self._on_event(self, SessionEvent.OPENED)
        return tunnel

    def close(self) -> None:
        """End the session and its tunnels at once: closing the connection ends them at both sides."""
        self.ending = True
        self._scope.cancel()

    def retire(self) -> None:
        """End the session, which is idle, once the runtime has taken all sent bytes, or after RETIRE_TIMEOUT."""
        self.ending = True
        self._retired.set()

    def silent_tunnels(self) -> list[Tunnel]:
        """The open tunnels that have received no byte yet."""
        return [tunnel for tunnel in self._tunnels.values() if not tunnel.received]

    # Tasks

    async def run(self) -> None:
        """Read and write until the session is closed; then all its tunnels are over. Raises SessionLostError."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._until_lost, self._writer.run)
                    nursery.start_soon(self._until_lost, self._health.watch)
                    nursery.start_soon(self._close_when_retired)
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
        """Runs one task of the session. Stores a SessionLostError, which ends all tasks, so that no group hides it."""
        try:
            await task(*args)
        except SessionLostError as error:
            self._loss = self._loss or error
            self.ending = True
            await session_turns.turn()
            self._scope.cancel()

    async def _close_when_retired(self) -> None:
        await self._retired.wait()
        await session_turns.turn()
        with trio.move_on_after(HAUNTED_TIMEOUT if self._haunted else RETIRE_TIMEOUT):
            if not self._wire.credit.fully_acked and self._wire.credit.can_probe():
                self._wire.probe()
                self._writer.wake()
            while not self._wire.credit.fully_acked:
                await self._progress.wait()
        self.close()

    async def _read(self, nursery: trio.Nursery) -> None:
        while True:
            events, size = await self._reader.receive()
            self._health.heard()
            fed = self._handle(nursery, events, size)
            for tunnel in fed:
                tunnel.announce()
            self._progress.fire()
            self._writer.wake_unless_deferred()
            if self.awaits_room and self.usable:
                self.awaits_room = False
                self._on_event(self, SessionEvent.ROOM)
            full = [tunnel for tunnel in fed if tunnel.full]
            if full and not (self.load > 1 and self._slow_readers.covered(full)):
                await self._pause(full)

    async def _pause(self, full: list[Tunnel]) -> None:
        """Stop reading until slow local readers have caught up; only this session's connections wait meanwhile."""
        self._health.paused = True  # silence proves nothing from now on
        try:
            await self._slow_readers.drained(full, self.load)
        finally:
            self._health.resume()
            self._reset_streams.reading_resumed()
        self._health_changed()

    # Events

    def _handle(self, nursery: trio.Nursery, events: list[PairEvent], size: int) -> dict[Tunnel, None]:
        """Applies the events of one read of `size` bytes; returns the tunnels that have received data."""
        fed: dict[Tunnel, None] = {}
        half_done: list[int] = []
        for event in events:
            match event:
                case PairData(pair, piece):
                    if (tunnel := self._tunnels.get(pair)) is not None:
                        self.useful = True
                        # A small piece must not keep the whole read alive.
                        tunnel.feed(piece if 2 * len(piece) > size else bytes(piece))
                        fed[tunnel] = None
                case PairFinished(pair, text):
                    self._finish(pair, classify(text) if text else None)
                case PairEof(pair):
                    half_done.append(pair)
                case StrayDataReceived(stream):
                    self._drop_stray(stream)
                case GoAwayReceived():
                    self.ending = True
                    self._on_event(self, SessionEvent.DISMISSED)
        if half_done:
            for pair in self._tunnels.keys() & half_done:
                nursery.start_soon(self._finish_late, pair)
        return fed

    def _drop_stray(self, stream: int) -> None:
        """Drops data for a reset stream. An application that keeps sending ends with the session, so that ends soon."""
        if not self._haunted and self._reset_streams.sends_on(stream):
            logger.debug("an application sends on after its client left: no new connection on this session")
            self._haunted = self.ending = True
            self._health_changed()

    async def _finish_late(self, pair: int) -> None:
        if (tunnel := self._tunnels.get(pair)) is None:
            return
        with trio.move_on_after(FINISH_TIMEOUT):
            await tunnel.wait_finished()
        # An error text may still be on its way: the answer to a PING that is sent now comes after it.
        if pair in self._tunnels and self._wire.credit.can_probe():
            self._wire.probe()
        if await self.confirm(pair):
            self._wire.abort(pair)
            self._finish(pair, None)

    def _finish(self, pair: int, error: TunnelError | None) -> None:
        if (tunnel := self._remove(pair)) is not None:
            tunnel.finish(error)
            if isinstance(error, DialError) and error.sandbox_gone and not self.ending:
                self._on_event(self, SessionEvent.GONE)

    def _remove(self, pair: int) -> Tunnel | None:
        tunnel = self._tunnels.pop(pair, None)
        if tunnel is not None:
            now = trio.current_time()
            self.last_lifetime = now - tunnel.opened_at if tunnel.received else None
            if not self._tunnels:
                self.idle_since = now
                self.in_burst = False
            self._progress.fire()
            self._writer.written.fire()
            self._on_event(self, SessionEvent.CLOSED)
        return tunnel

    def _health_changed(self) -> None:
        self._on_event(self, SessionEvent.HEALTH)

    # For its tunnels (SessionHandle)

    async def send(self, pair: int, data: Piece) -> None:
        """Wait for room, then queue `data` as one frame. Does nothing once the pair is over."""
        await self.wait_room(pair)
        if pair in self._tunnels and self._wire.send(pair, data):
            self._writer.wake() if self.in_burst else self._writer.push()

    async def wait_room(self, pair: int) -> None:
        """Wait until the peer's credit and the send queue have room, or the pair is over."""
        while pair in self._tunnels:
            if not self._wire.can_send(pair):
                await self._progress.wait()
            elif self._wire.pending >= SEND_LIMIT:
                await self._writer.written.wait()
            else:
                return

    def send_eof(self, pair: int) -> None:
        self._wire.send_eof(pair)
        self._writer.wake()

    def abort(self, pair: int) -> None:
        if (stream := self._wire.abort(pair)) is not None:
            self._reset_streams.add(stream)
        self._writer.defer()
        self._remove(pair)

    async def confirm(self, pair: int) -> bool:
        """Wait until the runtime has taken all that was sent; return False if the pair is over instead."""
        if pair not in self._tunnels:
            return False
        checkpoint = self._wire.checkpoint(pair)
        while pair in self._tunnels:
            if self._wire.is_acked(pair, checkpoint):
                return True
            self._wire.request_ack(pair, checkpoint)
            self._writer.wake()
            await self._progress.wait()
        return False
