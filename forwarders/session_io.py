"""Reads and writes the bytes of a session, and decides when reading has to pause for slow local readers.

It does not know which connection may queue how much: that is the session's business.
"""

from __future__ import annotations

import logging
import math
from enum import Enum

import trio

from forwarders.errors import SessionLostError, SilentError, WireError
from forwarders.tasks import Notifier, session_turns
from forwarders.transports.sockets import Channel, Piece
from forwarders.tunnel import Tunnel
from forwarders.wire.portforward import PairEvent, PortForward
from forwarders.wire.runtimes import PAIR_ENDS_WITHIN

logger = logging.getLogger("portside.sessions")

# A read of this size says that the channel has more: other tasks run first. After less the next read waits.
TURN_SIZE = 64 * 1024
# One read can hold 20,000 PINGs, which take 100 ms: so many frames take a millisecond, then other tasks run.
FRAMES_A_TURN = 128
# The peer keeps reading while workers have credit; a write that makes no progress in this time meets a dead path.
# It counts for each slice, or a large queue on a slow uplink would look dead: 13 KB/s are enough.
WRITE_TIMEOUT, WRITE_SIZE = 10.0, 128 * 1024
# Seconds that bytes which nobody waits for may stay queued, so that they go out in one write with those of the next
# connection: each write costs the API server, the kubelet and the runtime a wakeup.
DEFER = 0.005
# A reader that is only slower than the pod pauses its session many times a second: not worth a line of the log.
STALLED_AFTER = 0.1
# Unread bytes that one connection may leave where others share its session: most answers are smaller. And all together.
UNREAD_OF_ONE, UNREAD_OF_ALL = 8 * 1024 * 1024, 64 * 1024 * 1024


class SessionEvent(Enum):
    """What has changed on a session, for its pool."""

    OPENED = "opened"  # a connection was opened
    CLOSED = "closed"  # a connection is over
    ROOM = "room"  # another connection may be opened again
    HEALTH = "health"  # the peer owes a sign of life, or gave it
    DISMISSED = "dismissed"  # the peer serves no new connection here
    GONE = "gone"  # the sandbox at the other end is gone: the pod has ended, or has another sandbox


class SessionReader:
    """Reads from the channel and decodes the events. `received`: bytes that came with the upgrade."""

    def __init__(self, channel: Channel, wire: PortForward, received: bytes) -> None:
        self._channel = channel
        self._wire = wire
        self._first = received
        self._size = 0

    async def receive(self) -> tuple[list[PairEvent], int]:
        """Return the next events, and the size of the read that they came with. Raises SessionLostError."""
        if self._wire.more:
            await trio.lowlevel.checkpoint()
            data = b""
        else:
            if self._size >= TURN_SIZE:
                await trio.lowlevel.checkpoint()
            data = self._first or await self._read()
            self._first = b""
            self._size = len(data)
            await session_turns.turn()
        try:
            return self._wire.receive_data(data, FRAMES_A_TURN), self._size
        except WireError as error:
            raise SessionLostError(f"the session to the pod is not SPDY any more: {error}") from error

    async def _read(self) -> bytes:
        try:
            data = await self._channel.receive()
        except (OSError, trio.ClosedResourceError) as error:
            raise SessionLostError(f"the session to the pod broke: {error}") from error
        if not data:
            raise SessionLostError("the API server closed the session to the pod")
        return data


class UnreadBudget:
    """The memory that slow readers may use for unread bytes where others share their session; one for the process.

    There is no flow control per connection: a session that stops reading for one slow reader stops for all on it. So
    it reads on for the others, and keeps what the slow one has not taken, until the budget is used up.
    """

    def __init__(self) -> None:
        self._over: set[Tunnel] = set()

    def covers(self, tunnel: Tunnel) -> bool:
        """Whether this full tunnel may buffer more."""
        self._over = {other for other in self._over if other.full} | {tunnel}
        return tunnel.unread < UNREAD_OF_ONE and sum(other.unread for other in self._over) < UNREAD_OF_ALL


class SlowReaders:
    """The tunnels of one session whose local readers are slow, and what their unread bytes mean for the session."""

    def __init__(self, budget: UnreadBudget) -> None:
        self._budget = budget
        self._overdrawn: list[Tunnel] = []

    def present(self) -> bool:
        """Whether any tunnel uses the budget, so that the session may have to pause soon."""
        if self._overdrawn:
            self._overdrawn = [tunnel for tunnel in self._overdrawn if tunnel.full]
        return bool(self._overdrawn)

    def covered(self, full: list[Tunnel]) -> bool:
        """Whether the budget lets the session keep reading although these tunnels are full."""
        covered = all(self._budget.covers(tunnel) for tunnel in full)
        if covered:
            self._overdrawn = [*(tunnel for tunnel in self._overdrawn if tunnel not in full), *full]
        return covered

    async def drained(self, full: list[Tunnel], load: int) -> None:
        """Wait until the local readers of these tunnels have caught up. `load`: how many connections wait with them."""
        with trio.move_on_after(STALLED_AFTER) as patience:
            for tunnel in full:
                await tunnel.wait_drained()
        if patience.cancelled_caught:
            logger.debug("a local client does not read: its session waits, %d connections", load)
            for tunnel in full:
                await tunnel.wait_drained()


class ResetStreams:
    """Remembers recently reset streams, to find applications that keep sending after the reset.

    A runtime that starts socat does not stop it at our RST_STREAM (wire/runtimes.py): the download goes on for nobody.
    """

    def __init__(self) -> None:
        self._reset_at: dict[int, float] = {}  # in that order
        self._reading_since = -math.inf

    def add(self, stream_id: int) -> None:
        now = trio.current_time()
        self._reset_at[stream_id] = now
        while (oldest := next(iter(self._reset_at))) != stream_id and now - self._reset_at[oldest] > PAIR_ENDS_WITHIN:
            del self._reset_at[oldest]

    def reading_resumed(self) -> None:
        """Nothing was read for a while: data that arrives now may be old."""
        self._reading_since = trio.current_time()

    def sends_on(self, stream_id: int) -> bool:
        """Whether data that has just arrived for this stream was sent after the runtime should have ended it."""
        since = max(self._reset_at.get(stream_id, -math.inf), self._reading_since)
        return trio.current_time() - since > PAIR_ENDS_WITHIN


class SessionWriter:
    """Sends what the wire has queued, with a deadline for each slice. `written` fires when the queue shrinks."""

    def __init__(self, channel: Channel, wire: PortForward) -> None:
        self._channel = channel
        self._wire = wire
        self._queued = Notifier()
        # The channel has bytes that the system had no room for: `run` sends them, and nothing may overtake them.
        self._behind = False
        self._failure: OSError | trio.ClosedResourceError | None = None
        self._taken = self._sent = 0
        self._deferred = 0
        self._wait = trio.CancelScope()
        self.written = Notifier()

    def wake(self) -> None:
        """Bytes were queued: send them soon, in one write with what is queued until then."""
        self._queued.fire()

    def push(self) -> None:
        """Bytes were queued that somebody waits for: send them now, if the system has room."""
        if self._behind or self._wire.pending > WRITE_SIZE:
            self.wake()
        elif self._wire.pending:
            if self._put(self._take()):
                self._done()
            else:
                self._behind = True
                self.wake()

    def defer(self) -> None:
        """Bytes were queued that nobody waits for: send them with the next ones, or after DEFER seconds."""
        if not self._behind:
            self._deferred = self._wire.pending
            self._wait.deadline = min(self._wait.deadline, trio.current_time() + DEFER)

    def wake_unless_deferred(self) -> None:
        """Send soon if anything is queued apart from what was deferred."""
        if self._wire.pending > self._deferred:
            self._queued.fire()

    async def flush(self) -> None:
        """Wait until everything that is queued now has been sent; WRITE_TIMEOUT bounds it."""
        sent_with = self._taken + bool(self._wire.pending)
        self.push()
        while self._sent < sent_with:
            await self.written.wait()

    async def run(self) -> None:
        """Write queued bytes to the channel until cancelled. Raises SessionLostError."""
        while True:
            # Left when the time of `defer` is over. A scope for each wait would cost more than the wait.
            with trio.CancelScope() as self._wait:
                while not self._wait.cancel_called:
                    self._wait.deadline = math.inf
                    await self._send_all()
                    await self._queued.wait()

    async def _send_all(self) -> None:
        while self._behind or self._wire.pending:
            if not self._behind:
                await self._send_queue()
            else:
                await self._flush()
                self._done()

    async def _send_queue(self) -> None:
        data = memoryview(self._take())
        self._behind = True
        self.written.fire()
        for start in range(0, len(data), WRITE_SIZE):
            if not self._put(data[start : start + WRITE_SIZE]):
                await self._flush()
        self._done()

    def _take(self) -> bytes:
        self._taken += 1
        self._deferred = 0
        return self._wire.take()

    def _done(self) -> None:
        self._behind = False
        self._sent = self._taken
        self.written.fire()

    def _put(self, data: Piece) -> bool:
        """Passes bytes to the channel. Stores a failure for `_flush`, which runs in the task that may raise it."""
        try:
            return self._channel.put(data)
        except (OSError, trio.ClosedResourceError) as error:
            self._failure = error
            return False

    async def _flush(self) -> None:
        try:
            if self._failure is not None:
                raise self._failure
            with trio.fail_after(WRITE_TIMEOUT):
                await self._channel.flush()
        except (OSError, trio.ClosedResourceError) as error:
            raise SessionLostError(f"the session to the pod broke: {error}") from error
        except trio.TooSlowError as error:
            raise SilentError(f"nothing could be sent to the pod for {WRITE_TIMEOUT:.0f} s") from error
