"""Owns marks: events of ours without a text that are posted to Skaffold and come back on its stream, in their place.

Refuses to say what it means that one is there, or is not: stream.py does.
"""

from __future__ import annotations

import re
import secrets

import msgspec
import trio

from watcher.errors import StreamEndedError, StuckError
from watcher.skaffold.address import ApiAddress
from watcher.skaffold.exchange import Dial, Exchange

PATH = "/v2/events/handle"
# A Skaffold on this machine answers within milliseconds; one that does not for so long has been stopped by a reader.
_PATIENCE = 2.0
# A mark's name and number, and what may be missing of it at the end of a piece.
_LONGEST = 64


class Marks:
    """The marks of one stream: each is posted over a connection of its own, which `dial` makes."""

    def __init__(self, dial: Dial, address: ApiAddress) -> None:
        self._dial = dial
        self._address = address
        name = f"portside-{secrets.token_hex(8)}-"
        self._name = name
        self._pattern = re.compile(rb"%b(\d{1,9})[.]" % name.encode())
        self._posted = 0
        self._tail = b""
        self._back: set[int] = set()
        self._came = trio.Event()

    def feed(self, data: bytes) -> None:
        """All that comes on the stream, cut anywhere."""
        text = self._tail + data
        self._tail = text[-_LONGEST:]
        # Others read our marks and may post their like: a number that we have not posted yet is none of ours.
        numbers = {int(match[1]) for match in self._pattern.finditer(text)}
        if new := {number for number in numbers if number <= self._posted} - self._back:
            self._back |= new
            self._came.set()
            self._came = trio.Event()

    async def post(self, size: int = 0) -> int:
        """Posts the next mark, of `size` bytes or somewhat more; its number, once Skaffold has taken it.

        Raises StuckError after two seconds, StreamEndedError where nobody listens, NotSkaffoldError.
        """
        self._posted += 1
        number = self._posted
        try:
            with trio.fail_after(_PATIENCE):
                await self._send(f"{self._name}{number}.".ljust(size))
        except OSError:
            raise StreamEndedError(f"no Skaffold answers at {self._address.url}; waiting for one") from None
        except trio.TooSlowError:
            raise self._stuck() from None
        return number

    async def back(self, number: int) -> None:
        """Returns once the mark of that number has come back."""
        while number not in self._back:
            await self._came.wait()

    async def echo(self, size: int = 0) -> None:
        """Posts a mark and awaits it. Raises as `post`."""
        number = await self.post(size)
        with trio.move_on_after(_PATIENCE):
            return await self.back(number)
        raise self._stuck()

    async def _send(self, name: str) -> None:
        """A log event of the lowest level with an empty message: no terminal and no IDE has anything to show."""
        event = {"skaffoldLogEvent": {"taskId": "Portside", "subtaskId": name, "message": ""}}
        stream = await self._dial(self._address)
        async with stream:
            exchange = Exchange(stream, self._address, "POST", PATH)
            await exchange.ask(msgspec.json.encode(event))
            await exchange.head()

    def _stuck(self) -> StuckError:
        return StuckError(
            f"Skaffold at {self._address.url} stands still (it tells of no event): some reader of its events does not "
            "read them, or left while they were told; attaching again"
        )
