"""Resolves host names for all of trio's connections, so that a resolver that hangs does not block anything else.

Look-ups run in threads of their own, not among the 40 that everything else shares. Concurrent callers share one
look-up. While it has no answer it is started again every second, and the last known answer is used.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import trio
from outcome import Error, Outcome

# Seconds until a known answer is used instead, and until the look-up fails.
KNOWN_AFTER, NONE_AFTER = 1.0, 5.0
# Seconds between two look-ups of one name, and how long an answer is reused: for the attempts of one connect.
AGAIN = 1.0
# Threads that look up one name: the system's resolver gives up after 10 to 30 s.
MAX_ASKING = 16
# Names that are remembered: an API server, a proxy, some addresses to listen on.
MAX_NAMES = 64

AddressInfo = list[Any]
LookUp = Callable[..., AddressInfo]


class NameResolver(trio.abc.HostnameResolver):
    """`look_up` is the system's blocking function."""

    def __init__(self, look_up: LookUp = socket.getaddrinfo) -> None:
        self._look_up = look_up
        self._names: dict[tuple[Any, ...], _CachedName] = {}

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - trio's name for it
        proto: int = 0,
        flags: int = 0,
    ) -> AddressInfo:
        """Raises socket.gaierror, also if there is no answer in time."""
        question = (host, port, family, type, proto, flags)
        if question not in self._names and len(self._names) >= MAX_NAMES:
            self._names.pop(next(iter(self._names)))
        name = self._names.setdefault(question, _CachedName())
        return await name.resolve(partial(self._look_up, *question), (host or b"").decode("ascii", "replace"))

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """The name of an address is never needed here: returns the address as text."""
        await trio.lowlevel.checkpoint()
        return socket.getnameinfo(sockaddr, flags | socket.NI_NUMERICHOST)


def install() -> None:
    """Uses a NameResolver for the rest of this trio.run."""
    trio.socket.set_custom_hostname_resolver(NameResolver())


class _CachedName:
    """The last answer for one name, and its look-ups that are under way."""

    def __init__(self) -> None:
        self._known: AddressInfo | None = None
        self._failure: BaseException | None = None
        self._answered_at = self._asked_at = -math.inf
        self._unanswered_since = math.inf
        self._asking = 0
        self._changed = trio.Event()

    async def resolve(self, look_up: Callable[[], AddressInfo], shown: str) -> AddressInfo:
        began = trio.current_time()
        self._unanswered_since = min(self._unanswered_since, began)
        patience = KNOWN_AFTER if self._known is not None else NONE_AFTER
        with trio.move_on_at(self._unanswered_since + patience):
            while self._answered_at < began - AGAIN:
                self._start(look_up)
                with trio.move_on_after(AGAIN):
                    await self._changed.wait()
            return self._latest()
        if self._known is None:
            raise socket.gaierror(socket.EAI_AGAIN, f"nothing has answered what the address of {shown} is")
        return self._known

    def _latest(self) -> AddressInfo:
        if self._failure is None and self._known is not None:
            return self._known
        if isinstance(self._failure, socket.gaierror):
            if self._failure.errno == socket.EAI_AGAIN and self._known is not None:
                return self._known
            raise socket.gaierror(*self._failure.args)  # each caller adds its own traceback
        raise OSError(f"the system's resolver failed: {self._failure!r}")

    def _start(self, look_up: Callable[[], AddressInfo]) -> None:
        now = trio.current_time()
        if self._asking < MAX_ASKING and now - self._asked_at >= AGAIN:
            self._asked_at = now
            self._asking += 1
            trio.lowlevel.start_thread_soon(look_up, partial(self._deliver, trio.lowlevel.current_trio_token()))

    def _deliver(self, token: trio.lowlevel.TrioToken, answer: Outcome[AddressInfo]) -> None:
        """Runs in the thread."""
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(self._take, answer)

    def _take(self, answer: Outcome[AddressInfo]) -> None:
        self._asking -= 1
        if isinstance(answer, Error):
            self._failure = answer.error
        else:
            self._failure, self._known = None, answer.unwrap()
        self._answered_at, self._unanswered_since = trio.current_time(), math.inf
        self._changed.set()
        self._changed = trio.Event()
