"""Connects by TCP to API servers and proxies: lost SYNs and a resolver that hangs delay nothing else.

Name look-ups run in threads of their own, not among the 40 that everything else shares. Concurrent callers share one
look-up. While it has no answer it is started again every second, and the last known answer is used.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

import trio
from outcome import Error, Outcome

from forwarders.system.tcp import api_server_options, set_options, unsent_options
from forwarders.transports.sockets import RawSocket

# Seconds until a known answer is used instead, and until the look-up fails.
KNOWN_AFTER, NONE_AFTER = 1.0, 5.0
# Seconds between two look-ups of one name, and how long an answer is reused: for the attempts of one connect.
AGAIN = 1.0
# Threads that look up one name: the system's resolver gives up after 10 to 30 s.
MAX_ASKING = 16
# Names that are remembered: an API server, a proxy, some addresses to listen on.
MAX_NAMES = 64

AddressInfo = list[Any]

# Unsent bytes that the kernel takes from us: a PING must not queue behind megabytes.
NOTSENT = 128 * 1024
# The kernel repeats a lost SYN after 1, 3 and 7 s. To use a recovered path sooner, another attempt starts in these
# intervals and ends after its own time, so at most six run at once. Seconds.
ATTEMPT_EVERY, ATTEMPT_LIFE = 0.5, 3.0


class NameResolver(trio.abc.HostnameResolver):
    """Resolves names for all of trio's connections with bounded waits. `look_up`: the system's blocking function."""

    def __init__(self, look_up: Callable[..., AddressInfo] = socket.getaddrinfo) -> None:
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
        """Resolve a name as trio requests it. Raises socket.gaierror, also if there is no answer in time."""
        question = (host, port, family, type, proto, flags)
        if question not in self._names and len(self._names) >= MAX_NAMES:
            self._names.pop(next(iter(self._names)))
        name = self._names.setdefault(question, _CachedName())
        return await name.resolve(partial(self._look_up, *question), (host or b"").decode("ascii", "replace"))

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """The name of an address is never needed here: returns the address as text."""
        await trio.lowlevel.checkpoint()
        return socket.getnameinfo(sockaddr, flags | socket.NI_NUMERICHOST)


def install_resolver() -> None:
    """Use a NameResolver for the rest of this trio.run."""
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
        """Passes the answer from the look-up's thread to trio's."""
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


async def connect_tcp(host: str, port: int) -> RawSocket:
    """Connect to an API server or a proxy by happy eyeballs. Raises OSError; has no deadline."""
    stream = await first_connected(partial(trio.open_tcp_stream, host, port), OSError)
    sock = socket.socket(fileno=stream.socket.detach())
    try:
        set_options(sock, [*api_server_options(), *unsent_options(NOTSENT)])
    except OSError:
        sock.close()
        raise
    return RawSocket(sock)


class AsyncCloseable(Protocol):
    """What `first_connected` needs of a stream: trio's and httpcore's have it."""

    async def aclose(self) -> None: ...


Stream = TypeVar("Stream", bound=AsyncCloseable)


async def first_connected(connect_tcp: Callable[[], Awaitable[Stream]], failure: type[Exception]) -> Stream:
    """Runs attempts next to each other, since SYNs may be lost; returns the first stream and closes the others.

    The first `failure` ends them all and is raised. The caller sets the deadline.
    """
    streams: list[Stream] = []
    failures: list[Exception] = []

    async def attempt() -> None:
        with trio.move_on_after(ATTEMPT_LIFE):
            try:
                streams.append(await connect_tcp())
            except failure as error:
                failures.append(error)
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            while not (streams or failures):
                nursery.start_soon(attempt)
                await trio.sleep(ATTEMPT_EVERY)
    except BaseException:
        await _close_all(streams)
        raise
    await _close_all(streams[1:])
    if not streams:
        raise failures[0]
    return streams[0]


async def _close_all(streams: list[Stream]) -> None:
    """Closes all streams at once, also in a cancelled task: one shielded scope each, or only the first is closed."""
    for stream in streams:
        with trio.CancelScope(shield=True) as scope:
            scope.cancel()
            await stream.aclose()
