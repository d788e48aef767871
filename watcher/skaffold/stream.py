"""Reads one connection to Skaffold's GET /v2/events at full speed, and leaves it without stopping Skaffold.

It does not decode events and does not reconnect. A reader that does not read, or leaves at the wrong moment, stops
Skaffold for good or ends it: docs/design/skaffold-events.md.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
from collections.abc import Callable

import h11
import trio

from forwarders.tasks import Notifier
from watcher.errors import NotSkaffoldError, SkaffoldError, StreamEndedError, StuckError
from watcher.skaffold.http_request import CHUNK, ApiAddress, Dial, HttpRequest, post_event

logger = logging.getLogger("portside.skaffold")

# The write quota of a gRPC stream, which the replay and the live events share. If one finds it used up, it may sleep
# until it is used up again: a sleeping replay never ends, sleeping live events stop Skaffold. A probe of this size
# wakes the replay. A probe that does not come back shows that live events sleep: leave after the replay, attach again.
_QUOTA = 1 << 16
# A replay delivers tens of thousands of events a second, megabytes. If less than the quota comes in _ASLEEP seconds,
# the replay sleeps or is nearly over. If live events come as fast as that, it may sleep after _LONG seconds; a needless
# probe does no harm. Each such probe stays in Skaffold's log: while none is accepted the pauses grow to _RARELY.
_ASLEEP, _LONG, _RARELY = 0.25, 4.0, 30.0
# To send a hundred bytes on a new socket.
_SEND_REQUEST = 2.0
# Until the head of the answer. Skaffold sends it with its first event, and its log has at least our probe.
_HEAD = 10.0
# To read the rest of the replay before leaving, for a log of some hundred megabytes. Longer means it never ends.
_LEAVE = 60.0
_REPORT_AFTER = 0.5
# Skaffold closes within 15 ms of our FIN, or seconds later on a busy machine.
_CLOSE = 2.0
# A Skaffold on this machine answers a probe within milliseconds; after this long another reader has stopped it.
_PROBE = 2.0
# Longest text of a probe's name and number, part of which may be at the end of a read.
_PROBE_LENGTH = 64


class Probes:
    """Events without text that portside posts and recognizes when they come back on its stream.

    Each is posted over its own connection, which `dial` opens.
    """

    def __init__(self, dial: Dial, address: ApiAddress) -> None:
        self._dial = dial
        self._address = address
        self._name = f"portside-{secrets.token_hex(8)}-"
        self._pattern = re.compile(rb"%b(\d{1,9})[.]" % self._name.encode())
        self._posted = 0
        self._tail = b""
        self._returned: set[int] = set()
        self._arrived = Notifier()

    def feed(self, data: bytes) -> None:
        """Looks for probes in the stream's bytes, which may be cut anywhere."""
        text = self._tail + data
        self._tail = text[-_PROBE_LENGTH:]
        # Other readers see our probes and may post similar ones: a number that we have not posted yet is not ours.
        numbers = {int(match[1]) for match in self._pattern.finditer(text)}
        if new := {number for number in numbers if number <= self._posted} - self._returned:
            self._returned |= new
            self._arrived.fire()

    async def post(self, size: int = 0) -> int:
        """Posts the next probe, of at least `size` bytes, and returns its number when Skaffold has accepted it.

        Raises StuckError after two seconds, StreamEndedError if nothing listens, NotSkaffoldError.
        """
        self._posted += 1
        name = f"{self._name}{self._posted}.".ljust(size)
        # A log event of the lowest level with an empty message: terminals and IDEs show nothing.
        event = {"skaffoldLogEvent": {"taskId": "Portside", "subtaskId": name, "message": ""}}
        number = self._posted
        try:
            with trio.fail_after(_PROBE):
                await post_event(self._dial, self._address, event)
        except OSError:
            raise StreamEndedError(f"no Skaffold answers at {self._address.url}; waiting for one") from None
        except trio.TooSlowError:
            raise self.stuck() from None
        return number

    async def returned(self, number: int) -> None:
        """Waits until the probe of that number has come back."""
        while number not in self._returned:
            await self._arrived.wait()

    async def round_trip(self, size: int = 0) -> None:
        """Posts a probe and waits until it comes back. Raises as `post`."""
        number = await self.post(size)
        with trio.move_on_after(_PROBE):
            return await self.returned(number)
        raise self.stuck()

    def stuck(self) -> StuckError:
        return StuckError(
            f"Skaffold at {self._address.url} stands still (it sends no events): another reader of its events does not "
            "read them, or left during the replay; attaching again"
        )


class EventStream:
    """The response body of one GET /v2/events over `stream`, which it closes. `probes` belong to this stream alone.

    A context manager: leaving the block leaves the stream politely, usually at once, after 63 s at most.
    """

    def __init__(self, stream: trio.abc.HalfCloseableStream, address: ApiAddress, probes: Probes) -> None:
        self._stream = stream
        self._request = HttpRequest(stream, address, "GET", "/v2/events")
        self._probes = probes
        self._first = 0  # the probe that was posted before the request
        self._size = 0
        self._may_leave = False

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            if self._request.sent and not self._request.closed:
                await self._leave()
            await self._stream.aclose()

    async def open(self) -> None:
        """Requests the stream and waits for the head of the answer, which Skaffold sends with its first event.

        Raises as `receive` and Probes.post: if Skaffold accepts no probe, the stream is not requested. Also raises
        StuckError if there is no answer within ten seconds.
        """
        self._first = await self._probes.post()
        # Shielded: the request is sent whole or not at all.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _SEND_REQUEST):
            await self._request.send()
        try:
            with trio.fail_after(_HEAD):
                await self._request.receive_head()
        except trio.TooSlowError:
            raise self._probes.stuck() from None
        except NotSkaffoldError:
            self._may_leave = True  # another kind of server has no replay
            raise

    async def receive(self) -> bytes:
        """Returns the next piece of the body, cut anywhere. Waits without limit; a cancel loses nothing.

        Raises StreamEndedError when the stream is over, NotSkaffoldError if the answer is not an event stream.
        """
        while True:
            match await self._request.receive():
                case h11.Data(data=data):
                    if not self._may_leave:
                        self._probes.feed(bytes(data))
                        self._size += len(data)
                    return bytes(data)
                case h11.EndOfMessage():
                    self._request.closed = True
                    raise self._request.ended()

    async def replay(self, on_data: Callable[[bytes], None] = lambda data: None) -> None:
        """Receives until the replay is complete and live events come. May be called again after a cancel.

        Raises as `receive`, and StuckError if Skaffold stands still and the stream should be left.
        """
        failed: SkaffoldError | None = None

        async def receive(scope: trio.CancelScope) -> None:
            nonlocal failed
            try:
                while True:
                    on_data(await self.receive())
            except SkaffoldError as error:
                failed = error
                scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, nursery.cancel_scope)
            try:
                await self._complete_replay()
            except SkaffoldError as error:
                failed = error
            self._may_leave = True
            nursery.cancel_scope.cancel()
        if failed is not None:
            raise failed

    async def _complete_replay(self) -> None:
        """Posts probes until the replay is complete, while another task receives; after the first, leaving is safe."""
        await self._wake_until_first_probe()
        if self._size > _QUOTA:  # otherwise nothing has waited for quota
            await self._probes.round_trip(_QUOTA)  # events logged just before the request may sleep too
        await self._probes.round_trip()

    async def _wake_until_first_probe(self) -> None:
        """Posts large probes until the first probe has come back."""
        size, awake, patience = self._size, trio.current_time(), _ASLEEP
        while True:
            with trio.move_on_after(patience):
                return await self._probes.returned(self._first)
            if self._size - size < _QUOTA or trio.current_time() - awake > _LONG:
                awake = trio.current_time()
                try:
                    await self._probes.post(_QUOTA)
                    patience = _ASLEEP
                except SkaffoldError:  # not accepted: another reader has stopped Skaffold
                    patience = min(2 * patience, _RARELY)
            size = self._size

    async def _leave(self) -> None:
        """Reads the replay to its end, shuts down our sending side only, and reads until Skaffold closes.

        A plain close while bytes are unread would send a reset.
        """
        if not self._may_leave:
            await self._finish_replay()
        try:
            await self._stream.send_eof()
            with trio.move_on_after(_CLOSE):
                while await self._stream.receive_some(CHUNK):
                    pass
        except (trio.BrokenResourceError, OSError):
            return  # Skaffold closed first

    async def _finish_replay(self) -> None:
        with contextlib.suppress(SkaffoldError):
            with trio.move_on_after(_REPORT_AFTER):
                await self.replay()
                return
            logger.warning(
                "Skaffold still sends its past events, and leaving now would freeze it: waiting, %.0f s at most; "
                "Ctrl-C again leaves at once",
                _LEAVE,
            )
            with trio.move_on_after(_LEAVE):
                await self.replay()
