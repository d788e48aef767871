"""Owns the way out of one session: what the wire has queued goes to the channel, slice by slice, with a deadline.

Refuses to know connections: who may queue how much is the session's business.
"""

from __future__ import annotations

import ssl

import trio

from forwarders.errors import ForwarderError
from forwarders.signals import Signal
from forwarders.transports.channel import Channel
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
        self._queued = Signal()
        self._taken = self._sent = 0
        self.written = Signal()

    def wake(self) -> None:
        """Something has been queued."""
        self._queued.fire()

    async def flush(self) -> None:
        """Returns once what is queued now has left; WRITE_TIMEOUT bounds it."""
        leaves_with = self._taken + 1
        self.wake()
        while self._sent < leaves_with:
            await self.written.wait()

    async def run(self) -> None:
        """Serves until cancelled. Raises SessionLostError."""
        while True:
            while self._wire.pending:
                data = self._wire.take()
                self._taken += 1
                self.written.fire()
                for start in range(0, len(data), WRITE_SIZE):
                    await self._send(data[start : start + WRITE_SIZE])
                self._sent = self._taken
                self.written.fire()
            await self._queued.wait()

    async def _send(self, data: bytes) -> None:
        try:
            with trio.fail_after(WRITE_TIMEOUT):
                await self._channel.send(data)
        except (OSError, ssl.SSLError, trio.ClosedResourceError) as error:
            raise SessionLostError(f"the session to the pod broke: {error}") from error
        except trio.TooSlowError as error:
            raise SilentError(f"nothing could be sent to the pod for {WRITE_TIMEOUT:.0f} s") from error
