"""Owns one connection to Skaffold's GET /v2/events: asking for it, reading at full speed, leaving without harm.

Refuses to understand events and to reconnect. A reader that stalls freezes Skaffold, and one that leaves at the wrong
moment freezes it for good (its listeners are called under a lock, event/v2/event.go) or ends it (a write to a closed
socket raises SIGPIPE, which its Ctrl-C context catches, cmd/skaffold/app/skaffold.go).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

import h11
import trio

from watcher.errors import NotSkaffoldError, SkaffoldError
from watcher.skaffold.address import ApiAddress
from watcher.skaffold.exchange import CHUNK, Exchange
from watcher.skaffold.marks import Marks

logger = logging.getLogger("portside.skaffold")

PATH = "/v2/events"
# A stream begins with the replay of all that was logged before it, while live events come in between, from another
# goroutine of Skaffold's. Two things are wrong there (skaffold 2.16.1, grpc-go 1.72), and each stops Skaffold:
#  1. The listener of a reader that left in its replay stays registered without anybody who hears of its end; the next
#     event waits for that for ever, the log's lock held (event/v2/event.go, forEach and log). So the replay has to be
#     heard out before one leaves; nothing marks its end, and silence proves nothing on a busy machine. Therefore a mark
#     is posted before we ask: once it has come back, all that was logged before it has.
#  2. Both goroutines send on one gRPC stream, which is not made for that: who finds its write quota used up waits, and
#     when there is quota again one of them is woken (internal/transport/flowcontrol.go, writeQuota: a channel of one).
#     The other sleeps on until the quota is used up again. It may be the replay: what is missing of it never comes; or
#     the live events: Skaffold stands still as long as we are attached. A mark as large as the quota wakes the first;
#     a mark that does not come back tells of the second, whose cure is to leave, the replay being over, and come again.
_QUOTA = 1 << 16
# A replay runs at ten thousands of events a second, megabytes. If less than the quota comes in so long it is asleep, or
# what is left of it is short; beside live events as fast as that, one that has taken so long may be asleep and is woken
# in vain at worst. Each such mark stays in Skaffold's log: where none is taken the pauses grow.
_ASLEEP, _LONG, _RARELY = 0.25, 4.0, 30.0
# A hundred bytes into a fresh socket.
_ASK = 2.0
# Leaving, in seconds: for a log of some hundred megabytes. One that takes longer will not end at all.
_LONGEST = 60.0
_SAY_AFTER = 0.5
# Skaffold closes within 15 ms of our FIN, or seconds on a busy machine: until then what it writes is read.
_CLOSE = 2.0


class EventStream:
    """The response body of one GET /v2/events over `stream`, which it owns from now on; `marks` are this stream's.

    A context manager: its exit leaves politely, however the block ended: at once as a rule, after 63 s at most.
    """

    def __init__(self, stream: trio.abc.HalfCloseableStream, address: ApiAddress, marks: Marks) -> None:
        self._stream = stream
        self._exchange = Exchange(stream, address, "GET", PATH)
        self._marks = marks
        self._first = 0  # the mark that was posted before we asked
        self._size = 0
        self._heard_out = False

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            if self._exchange.asked and not self._exchange.over:
                await self._leave()
            await self._stream.aclose()

    async def open(self) -> None:
        """Asks and waits for the head of the answer, which Skaffold sends with its first event.

        Raises as `receive` and Marks.post: where no mark is taken nothing is asked.
        """
        self._first = await self._marks.post()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _ASK):  # asked or not, never in part
            await self._exchange.ask()
        try:
            await self._exchange.head()
        except NotSkaffoldError:
            self._heard_out = True  # a stranger has no replay
            raise

    async def receive(self) -> bytes:
        """The next piece of the body, cut anywhere; waits for it without limit and may be cancelled without loss.

        Raises StreamEndedError when the stream is over, NotSkaffoldError where the answer is no event stream.
        """
        while True:
            match await self._exchange.next():
                case h11.Data(data=data):
                    if not self._heard_out:
                        self._marks.feed(bytes(data))
                        self._size += len(data)
                    return bytes(data)
                case h11.EndOfMessage():
                    self._exchange.over = True
                    raise self._exchange.ended()
                case _:
                    pass

    async def replay(self, hear: Callable[[bytes], None]) -> None:
        """Receives until the replay is over and live events are seen to come; may be called again where it was cut off.

        Raises as `receive`, StuckError where Skaffold stands still and we are to leave.
        """
        failed: SkaffoldError | None = None

        async def receive(scope: trio.CancelScope) -> None:
            nonlocal failed
            try:
                while True:
                    hear(await self.receive())
            except SkaffoldError as error:
                failed = error
                scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, nursery.cancel_scope)
            try:
                await self._hear_out()
            except SkaffoldError as error:
                failed = error
            nursery.cancel_scope.cancel()
        if failed is not None:
            raise failed

    async def _hear_out(self) -> None:
        """The rule, while somebody receives. Stuck or not: once the first mark has come back one may leave."""
        await self._wake_until_told()
        try:
            if self._size > _QUOTA:  # else nobody has waited for quota
                await self._marks.echo(_QUOTA)  # what was logged just before we asked may be asleep as well
            await self._marks.echo()
        except SkaffoldError:
            self._heard_out = True
            raise
        self._heard_out = True

    async def _wake_until_told(self) -> None:
        """Returns once the first mark has come back."""
        size, awake, patience = self._size, trio.current_time(), _ASLEEP
        while True:
            with trio.move_on_after(patience):
                return await self._marks.back(self._first)
            if self._size - size < _QUOTA or trio.current_time() - awake > _LONG:
                awake = trio.current_time()
                patience = _ASLEEP if await self._wake() else min(2 * patience, _RARELY)
            size = self._size

    async def _wake(self) -> bool:
        """Whether Skaffold has taken the mark; else somebody has stopped it, and marks would pile up."""
        try:
            await self._marks.post(_QUOTA)
        except SkaffoldError:
            return False
        return True

    async def _leave(self) -> None:
        """Hear the replay out, shut down our sending side only, read until Skaffold closes.

        A plain close while bytes are unread would send a reset.
        """
        if not self._heard_out:
            await self._hear_out_in_time()
        try:
            await self._stream.send_eof()
            with trio.move_on_after(_CLOSE):
                while await self._stream.receive_some(CHUNK):
                    pass
        except (trio.BrokenResourceError, OSError):
            return  # it closed first

    async def _hear_out_in_time(self) -> None:
        with contextlib.suppress(SkaffoldError):
            with trio.move_on_after(_SAY_AFTER):
                await self.replay(_pass_over)
                return
            logger.warning(
                "Skaffold still reports what it did so far, and leaving now would freeze it: waiting, %.0f s at most; "
                "Ctrl-C again leaves at once",
                _LONGEST,
            )
            with trio.move_on_after(_LONGEST):
                await self.replay(_pass_over)


def _pass_over(_: bytes) -> None:
    """Who leaves has no use for it."""
