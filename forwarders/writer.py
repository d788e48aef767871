"""Owns the way out of one session: what the wire has queued goes to the channel, slice by slice, with a deadline.

Refuses to know connections: who may queue how much is the session's business.
"""

from __future__ import annotations

import trio

from forwarders.errors import ForwarderError
from forwarders.tasks import Notifier
from forwarders.transports.channel import Channel
from forwarders.transports.sockets import Piece
from forwarders.wire.portforward import PortForward

# The credit keeps the peer's reader moving; a write that still does not get through in this time meets a dead path.
# It counts for each slice, or a large queue on a slow uplink would look dead: 13 KB/s are enough.
WRITE_TIMEOUT, WRITE_SIZE = 10.0, 128 * 1024


class SessionLostError(ForwarderError):
    """The session is over; its tunnels are told."""


class SilentError(SessionLostError):
    """Nothing comes back: the whole way to the API server may be dead."""


class Writer:
    """`written` is fired whenever the queue has become shorter."""

    def __init__(self, channel: Channel, wire: PortForward) -> None:
        self._channel = channel
        self._wire = wire
        self._queued = Notifier()
        # What the system has had no room for yet is `run`'s to send, and nothing may overtake it.
        self._behind = False
        self._failure: OSError | trio.ClosedResourceError | None = None
        self._taken = self._sent = 0
        self.written = Notifier()

    def wake(self) -> None:
        """Something has been queued: it leaves soon, in one write with what else is queued until then."""
        self._queued.fire()

    def push(self) -> None:
        """Something has been queued that somebody waits for: it leaves now, where the system has room for it."""
        if self._behind or self._wire.pending > WRITE_SIZE:
            self.wake()
        elif self._wire.pending:
            self._taken += 1
            if self._put(self._wire.take()):
                self._done()
            else:
                self._behind = True
                self.wake()

    async def flush(self) -> None:
        """Returns once what is queued now has left; WRITE_TIMEOUT bounds it."""
        leaves_with = self._taken + bool(self._wire.pending)
        self.wake()
        while self._sent < leaves_with:
            await self.written.wait()

    async def run(self) -> None:
        """Serves until cancelled. Raises SessionLostError."""
        while True:
            while self._behind or self._wire.pending:
                if not self._behind:
                    await self._send_queue()
                else:
                    await self._flush()
                    self._done()
            await self._queued.wait()

    async def _send_queue(self) -> None:
        data = memoryview(self._wire.take())
        self._taken += 1
        self._behind = True
        self.written.fire()
        for start in range(0, len(data), WRITE_SIZE):
            if not self._put(data[start : start + WRITE_SIZE]):
                await self._flush()
        self._done()

    def _done(self) -> None:
        self._behind = False
        self._sent = self._taken
        self.written.fire()

    def _put(self, data: Piece) -> bool:
        """A failure shows at the next `_flush`, in the task that may raise it."""
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
