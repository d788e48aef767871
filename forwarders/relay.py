"""Serves accepted connections: copies each one from accept to close, through a tunnel or several dialled in turn.

It does not choose pods, and sends nothing twice that may have reached an application: it dials again only after the
runtime's own dial error, or if nothing was sent at all.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial

import trio

from forwarders.errors import ClientLeftError, DialError, ForwarderError, HoldExpiredError, TunnelError
from forwarders.holding import FIRST_LOOK, LAST_LOOK, HeldDial, WaitingLine, has_left
from forwarders.spec import Counts
from forwarders.system.tcp import reader_is_gone
from forwarders.tasks import Tasks, connection_turns, contained
from forwarders.transports.sockets import READ_SIZE, RawSocket
from forwarders.tunnel import TunnelProtocol
from forwarders.wire.runtimes import DIAL_GRACE, MOST_SWALLOWED

logger = logging.getLogger("portside.forwards")

# Bytes kept for another dial until the pod's end is known to have taken them. At least one read, and more than a
# runtime swallows before it has connected, since only then does "taken" prove that it has. More waits for it.
REPLAY_LIMIT = max(READ_SIZE, MOST_SWALLOWED + 1)
# After the answer's end the client has this long to close.
CLOSE_TIMEOUT = 1.0
# When a FIN arrived in the middle of an answer and the system cannot tell whether anybody still reads it.
UNSURE_LINGER = 0.25


class Connections:
    """Serves the connections of one forward: counts them, and logs why one was cut or turned away."""

    def __init__(self, line: WaitingLine, counters: Counts) -> None:
        self._line = line
        self._spec = line.spec
        self._counters = counters
        self._confirming: dict[int, Callable[[], None]] = {}  # by the client's port

    @contextmanager
    def confirming(self, client_port: int, confirmed: Callable[[], None]) -> Iterator[None]:
        """While the block runs: calls `confirmed` when the pod's end has the request for this client's connection."""
        self._confirming[client_port] = confirmed
        try:
            yield
        finally:
            del self._confirming[client_port]

    async def serve(self, local: RawSocket) -> None:
        """Relay one accepted connection until it is over. A bug ends only this connection."""

        def failed(cause: str) -> None:
            self._count_error(f"a bug of portside's: {cause}")
            local.reset()

        self._counters.connections += 1
        self._counters.connections_total += 1
        try:
            with contained(logger, f"{self._spec.label}: a connection", failed):
                await self._relay(local)
        finally:
            self._counters.connections -= 1

    async def _relay(self, local: RawSocket) -> None:
        confirmed = None
        if self._confirming:
            with suppress(OSError):  # a client that has left has no address any more
                confirmed = self._confirming.get(local.socket.getpeername()[1])
        relay = Relay(local, HeldDial(self._line, local), self._spec.linger, self._counters, confirmed)
        try:
            await relay.run()
        except ClientLeftError as error:
            logger.debug("%s: %s", self._spec.label, error)
            local.close()
            return
        except HoldExpiredError as error:
            self._count_error(str(error))
            logger.warning("%s: %s", self._spec.label, error)
            await local.turn_away(str(error))
            return
        if relay.error:
            self._count_error(relay.error)
            logger.info("%s: a connection was cut: %s", self._spec.label, relay.error)

    def _count_error(self, error: str) -> None:
        self._counters.errors += 1
        self._counters.last_error, self._counters.last_error_at = error, datetime.now(UTC)


class Relay:
    """Copies one connection in both directions. `error`: what ended it, once `run` has returned; "" for a good end.

    `confirmed`: called when the pod's end has the request for a tunnel.
    """

    def __init__(
        self,
        local: RawSocket,
        dial: HeldDial,
        linger: float,
        counters: Counts,
        confirmed: Callable[[], None] | None = None,
    ) -> None:
        self._local = local
        self._dial = dial
        self._linger = linger
        self._counters = counters
        self._confirmed = confirmed
        self._replay: list[bytes] = []
        self._replay_size = 0
        self._proven = False
        self._may_send = False
        self._fin = False
        self.sent = 0
        self.received = 0
        self.error = ""

    async def run(self) -> None:
        """Copy until the connection is over, then close or reset the local one.

        Errors of `HeldDial.next` are raised, and leave the local connection open.
        """
        try:
            while await self._dialled_again():
                pass
            await self._close_gently()
        except TunnelError as error:
            self.error = str(error)
            self._local.reset()
        except OSError as error:
            self.error = f"the client's connection broke: {error.strerror}"
            self._local.reset()
        except ForwarderError:
            raise
        except BaseException:
            self._local.reset()
            raise
        finally:
            self._dial.over()

    async def _dialled_again(self) -> bool:
        """Uses one tunnel until it is over; returns whether to dial another, because no byte reached an application."""
        tunnel = await self._dial.next()
        self._may_send = not self._dial.recently_refused
        try:
            await self._through(tunnel)
        except DialError as error:
            if self._proven:
                raise TunnelError(str(error)) from error
            self._dial.refused(error)
            return True
        except TunnelError:
            if self._may_send or self.received:
                raise
            self._dial.lost()
            return True
        finally:
            tunnel.abort()
        return False

    async def _through(self, tunnel: TunnelProtocol) -> None:
        """Copies in both directions until one ends the connection. Raises TunnelError or OSError, never a group."""
        failure: TunnelError | OSError | None = None
        async with trio.open_nursery() as nursery:
            with Tasks(nursery) as tasks:
                tunnel.copy_to(self._local, tasks, partial(self._received, tunnel))
                try:
                    if self._confirmed is not None and await tunnel.confirm():
                        self._confirmed()
                    if not await self._up(tunnel):
                        await trio.sleep_forever()  # the other direction decides, and cancels
                except (TunnelError, OSError) as error:
                    failure = error
                tasks.cancel()
        await connection_turns.turn()
        # A pod's error says more than the client's.
        if worst := tunnel.error or tunnel.failure or failure:
            raise worst

    # Client to pod

    async def _up(self, tunnel: TunnelProtocol) -> bool:
        """Copies client to pod. Returns whether the connection ends with this direction; usually the other decides."""
        if self._dial.recently_refused:
            # Bytes for a port that refuses cost the session one of its workers (wire/workers.py): none go first.
            if not await self._listens(tunnel):
                return False
            self._dial.succeeded()
            if has_left(self._local.socket):
                return True  # and nothing of it is sent
        self._may_send = True
        for data in tuple(self._replay):
            await tunnel.write(data)
        while not self._fin:
            if not self._proven and self._replay_size >= REPLAY_LIMIT:
                if not await tunnel.confirm():
                    return False
                self._prove()
            # From this read to the append nothing can come between: no byte is lost to a cancellation.
            data = await self._local.receive()
            await self._keep(data)
            if data:
                await tunnel.write(data)
                if len(data) == READ_SIZE:  # a client that always has something never waits, so others get a turn here
                    await trio.lowlevel.checkpoint()
                    self._fin = self._proven and await tunnel.take_from(self._local, self._count)
            else:
                self._fin = True
        return await self._hold_fin(tunnel)

    async def _listens(self, tunnel: TunnelProtocol) -> bool:
        """Waits for proof that an application listens at the port; returns False if the tunnel is over instead.

        The proof that the runtime has the request takes a round trip, however long that is. Its dial is local to the
        pod, so a refusal arrives soon after. Taken bytes prove no dial: socat's pipe takes some before.
        """
        if not await tunnel.confirm():
            return False
        with trio.move_on_after(DIAL_GRACE):
            await tunnel.wait_finished()
            return False
        return True

    def _count(self, sent: int) -> None:
        self.sent += sent
        self._counters.sent += sent

    async def _keep(self, data: bytes) -> None:
        """Counts what was read, and keeps it for another dial."""
        self._count(len(data))
        if data and not self._proven:
            self._replay.append(data)
            self._replay_size += len(data)
        if self.received or not data:  # first requests keep the order in which their connections waited
            await connection_turns.turn()

    def _prove(self) -> None:
        self._proven = True
        self._replay.clear()
        self._replay_size = 0

    async def _hold_fin(self, tunnel: TunnelProtocol) -> bool:
        """Holds the client's FIN back while it waits for an answer: the runtime cuts that off 1 s after our FIN.

        Returns True once nobody waits: the pod's end needs that second too, but the tunnel need not be kept so long.
        """
        quiet_since, received = trio.current_time(), tunnel.received
        look = FIRST_LOOK
        while not tunnel.finished:
            gone = reader_is_gone(self._local.socket)
            unsure = gone is None and received
            linger = min(self._linger, UNSURE_LINGER) if unsure else self._linger
            if tunnel.half_closes:
                linger = math.inf
            left = quiet_since + linger - trio.current_time()
            if gone or left <= 0:
                tunnel.end()
                if gone and self.sent and not (self._proven or tunnel.half_closes):
                    # Nobody waits for an answer, but what was sent is to arrive: a refusal must still be seen.
                    await self._listens(tunnel)
                return bool(gone)
            if tunnel.half_closes:
                tunnel.end()
            with trio.move_on_after(min(look, left)):
                await tunnel.wait_finished()
            await connection_turns.turn()
            look = min(2 * look, LAST_LOOK)
            if tunnel.received != received:
                quiet_since, received = trio.current_time(), tunnel.received
        return False

    def _received(self, tunnel: TunnelProtocol) -> None:
        if not self.received:
            self._dial.succeeded()
            self._prove()
        self._counters.received += tunnel.received - self.received
        self.received = tunnel.received

    async def _close_gently(self) -> None:
        """Sends our FIN first: a close with unread bytes would reset the connection while the client still reads."""
        if not self._fin:
            self._local.shutdown_writing()
            with trio.move_on_after(CLOSE_TIMEOUT):
                while await self._local.receive():
                    await trio.lowlevel.checkpoint()
        self._local.close()
