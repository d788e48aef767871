"""Resolves names for all of trio's connections, so that a resolver that swallows questions holds nothing else up.

Questions run in threads of their own, not among the 40 that everything else shares. Callers share the answer to one
question; while there is none it is asked again every second, and what was known before is used.
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

# Seconds until an answer that was known before is used, and until there is none.
KNOWN_AFTER, NONE_AFTER = 1.0, 5.0
# Seconds between two questions about one name, and for how long an answer serves others: the attempts of one connect.
AGAIN = 1.0
# Threads that ask about one name: the system's resolver gives a question up after 10 to 30 s.
MAX_ASKING = 16
# Names that are remembered: an API server, a proxy, some addresses to listen on.
MAX_NAMES = 64

Answer = list[Any]
LookUp = Callable[..., Answer]


class NameResolver(trio.abc.HostnameResolver):
    """`look_up` is the system's blocking function."""

    def __init__(self, look_up: LookUp = socket.getaddrinfo) -> None:
        self._look_up = look_up
        self._names: dict[tuple[Any, ...], _Name] = {}

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - trio's name for it
        proto: int = 0,
        flags: int = 0,
    ) -> Answer:
        """Raises socket.gaierror, also for no answer in time."""
        question = (host, port, family, type, proto, flags)
        if question not in self._names and len(self._names) >= MAX_NAMES:
            self._names.pop(next(iter(self._names)))
        name = self._names.setdefault(question, _Name())
        return await name.resolved(partial(self._look_up, *question), (host or b"").decode("ascii", "replace"))

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """Nothing here asks for the name of an address."""
        await trio.lowlevel.checkpoint()
        return socket.getnameinfo(sockaddr, flags | socket.NI_NUMERICHOST)


def install() -> None:
    """For the rest of this trio.run."""
    trio.socket.set_custom_hostname_resolver(NameResolver())


class _Name:
    """What is known of one name."""

    def __init__(self) -> None:
        self._known: Answer | None = None
        self._failure: BaseException | None = None
        self._answered_at = self._asked_at = -math.inf
        self._unanswered_since = math.inf
        self._asking = 0
        self._changed = trio.Event()

    async def resolved(self, ask: Callable[[], Answer], shown: str) -> Answer:
        began = trio.current_time()
        self._unanswered_since = min(self._unanswered_since, began)
        patience = KNOWN_AFTER if self._known is not None else NONE_AFTER
        with trio.move_on_at(self._unanswered_since + patience):
            while self._answered_at < began - AGAIN:
                self._ask(ask)
                with trio.move_on_after(AGAIN):
                    await self._changed.wait()
            return self._latest()
        if self._known is None:
            raise socket.gaierror(socket.EAI_AGAIN, f"nothing has answered what the address of {shown} is")
        return self._known

    def _latest(self) -> Answer:
        if self._failure is None and self._known is not None:
            return self._known
        if isinstance(self._failure, socket.gaierror):
            if self._failure.errno == socket.EAI_AGAIN and self._known is not None:
                return self._known
            raise socket.gaierror(*self._failure.args)  # each caller adds its own traceback
        raise OSError(f"the system's resolver failed: {self._failure!r}")

    def _ask(self, ask: Callable[[], Answer]) -> None:
        now = trio.current_time()
        if self._asking < MAX_ASKING and now - self._asked_at >= AGAIN:
            self._asked_at = now
            self._asking += 1
            trio.lowlevel.start_thread_soon(ask, partial(self._deliver, trio.lowlevel.current_trio_token()))

    def _deliver(self, token: trio.lowlevel.TrioToken, answer: Outcome[Answer]) -> None:
        """In the thread."""
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(self._take, answer)

    def _take(self, answer: Outcome[Answer]) -> None:
        self._asking -= 1
        if isinstance(answer, Error):
            self._failure = answer.error
        else:
            self._failure, self._known = None, answer.unwrap()
        self._answered_at, self._unanswered_since = trio.current_time(), math.inf
        self._changed.set()
        self._changed = trio.Event()
