"""Opens sessions to the pods of one API server, and remembers which transport works there, for each namespace.

The choice is a pure table: no IO, no clock, time is counted in attempts. Beyond one retry after a 401 and one with the
other transport, retries are the pool's. RBAC may differ by namespace; a new one starts with what worked last anywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from enum import Enum

import trio
from msgspec import Struct
from msgspec.structs import replace

from forwarders.errors import (
    BrokenOffError,
    ForbiddenError,
    GatewayError,
    RefusedError,
    TransportError,
    UnreachableError,
    UpgradeError,
    WireError,
)
from forwarders.spec import PodRef, authority
from forwarders.transports.api_server import ApiServer, Headers, dial
from forwarders.transports.http import UpgradeRequest, upgrade_to_spdy
from forwarders.transports.sockets import Channel
from forwarders.wire.connection import Connection
from forwarders.wire.streams import PingAnswered

logger = logging.getLogger("portside.sessions")

# Seconds from the request to its answer: the API server dials the kubelet, and that the runtime; 14 ms on a near one.
UPGRADE_TIMEOUT = 5.0
# Seconds for obtaining the credentials. A plugin may have to ask a person; one that hangs must not hang us.
CREDENTIALS_TIMEOUT = 60.0
# Failures in a row, with possibly other causes, after which a transport that has worked is doubted: an API server that
# restarts causes one or two.
DOUBTS = 3
# Failed attempts until the other transport, which failed too, is tried again; the pool makes two a second. Failed
# WebSocket tunnels leak in old containerd (kubernetes #126608).
PAUSE = 10


class Transport(Enum):
    """How a session is opened, by its name for people. RBAC needs `create` on pods/portforward for SPDY.

    A WebSocket needs `get`, from 1.35 on `create` as well.
    """

    SPDY = "SPDY"
    WEBSOCKET = "WebSocket"

    @property
    def other(self) -> Transport:
        return Transport.WEBSOCKET if self is Transport.SPDY else Transport.SPDY


class AttemptResult(Enum):
    """What one attempt proves about its transport."""

    WORKS = "works"
    BARRED = "barred"  # the verb is missing, or a proxy drops the upgrade
    DOUBTFUL = "doubtful"  # broken off, or a proxy failed: perhaps because of this kind of upgrade
    UNRELATED = "unrelated"  # the pod, the credentials, the network: the other transport would fail as well


def result_of(error: TransportError) -> AttemptResult:
    if isinstance(error, ForbiddenError | UpgradeError):
        return AttemptResult.BARRED
    doubtful = isinstance(error, GatewayError | BrokenOffError)
    return AttemptResult.DOUBTFUL if doubtful else AttemptResult.UNRELATED


class TransportChoice(Struct, frozen=True):
    """The transport for one namespace, and what its attempts proved. `proven`: it has worked.

    `doubts`: doubtful failures since. `pause`: failures until the other transport is tried again.
    """

    transport: Transport = Transport.SPDY
    proven: bool = False
    doubts: int = 0
    pause: int = 0


def tries_other(choice: TransportChoice, result: AttemptResult) -> bool:
    """Whether the other transport is tried at once after this result of the chosen one."""
    if choice.pause:
        return False
    doubted = result is AttemptResult.DOUBTFUL and (not choice.proven or choice.doubts + 1 >= DOUBTS)
    return result is AttemptResult.BARRED or doubted


def next_choice(choice: TransportChoice, result: AttemptResult, other: AttemptResult | None = None) -> TransportChoice:
    """Return the choice after an attempt. `other`: the result of the other transport if it was tried as well."""
    if result is AttemptResult.WORKS:
        return TransportChoice(choice.transport, proven=True)
    if other is AttemptResult.WORKS:
        return TransportChoice(choice.transport.other, proven=True)
    doubts = choice.doubts + (result is AttemptResult.DOUBTFUL)
    if other in {AttemptResult.BARRED, AttemptResult.DOUBTFUL}:
        return replace(choice, doubts=doubts, pause=PAUSE)
    if result is AttemptResult.UNRELATED:
        return choice
    return replace(choice, doubts=doubts, pause=max(choice.pause - 1, 0))


class Opener:
    """Opens sessions at one API server by the transport that works in the pod's namespace."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._choices: dict[str, TransportChoice] = {}
        self._latest = TransportChoice()
        # The last error of each transport, for the message while only one is being tried.
        self._failures: dict[str, dict[Transport, TransportError]] = {}

    def move(self, server: ApiServer) -> None:
        """Open sessions at this server from now on, and forget what worked at the last one."""
        self._server = server
        self._latest = TransportChoice()
        self._choices.clear()
        self._failures.clear()

    async def open(self, pod: PodRef) -> tuple[Channel, bytes]:
        """Open a channel that speaks SPDY/3.1 with the pod's runtime; return it, and the bytes after the upgrade.

        Raises UnreachableError and RefusedError; if both transports failed, one error that names both reasons.
        """
        choice = self._choice(pod)
        try:
            opened = await open_by(choice.transport, self._server, pod)
        except TransportError as error:
            return await self._open_by_other(choice.transport, pod, error)
        self._works(choice.transport, pod)
        return opened

    async def _open_by_other(self, failed: Transport, pod: PodRef, error: TransportError) -> tuple[Channel, bytes]:
        result = result_of(error)
        if result is AttemptResult.UNRELATED:
            raise error
        failures = self._failures.setdefault(pod.namespace, {})
        failures[failed] = error
        # Read again: other tasks may have changed the choice meanwhile.
        if self._choice(pod).transport is failed and not tries_other(self._choice(pod), result):
            self._fails(failed, pod, result)
            raise _combined(pod, failures) from error
        try:
            opened = await open_by(failed.other, self._server, pod)
        except TransportError as second:
            self._fails(failed, pod, result, result_of(second))
            if result_of(second) is AttemptResult.UNRELATED:
                raise
            failures[failed.other] = second
            raise _combined(pod, failures) from second
        if self._choice(pod).transport is failed:
            logger.info("%s; sessions are opened by %s from now on", error, failed.other.value)
        self._works(failed.other, pod)
        return opened

    def _choice(self, pod: PodRef) -> TransportChoice:
        return self._choices.get(pod.namespace, self._latest)

    def _works(self, transport: Transport, pod: PodRef) -> None:
        self._latest = self._choices[pod.namespace] = TransportChoice(transport, proven=True)
        self._failures.pop(pod.namespace, None)

    def _fails(
        self, transport: Transport, pod: PodRef, result: AttemptResult, other: AttemptResult | None = None
    ) -> None:
        if self._choice(pod).transport is transport:
            self._choices[pod.namespace] = next_choice(self._choice(pod), result, other)


async def open_by(transport: Transport, server: ApiServer, pod: PodRef) -> tuple[Channel, bytes]:
    """Opens a session with this transport only. Raises TransportError."""
    credentials = await _credentials(server.authorize(False))  # noqa: FBT003 - its only argument
    try:
        return await _open(transport, server, pod, credentials)
    except RefusedError as error:
        if error.status != 401:
            raise
        renewed = await _credentials(server.authorize_after(credentials))
        if renewed and renewed == credentials:  # none: with a client certificate, which may have been renewed
            raise
    return await _open(transport, server, pod, renewed)


class ProbeTimes(Struct, frozen=True):
    """Seconds: from nothing to an open session, and from a PING on it to the runtime's answer."""

    opened: float
    round_trip: float


async def probe(transport: Transport, server: ApiServer, pod: PodRef) -> ProbeTimes:
    """Measures this transport to a pod without dialling a port in it. Raises TransportError if it does not work."""
    began = trio.current_time()
    channel, data = await open_by(transport, server, pod)
    opened = trio.current_time()
    try:
        with trio.fail_after(UPGRADE_TIMEOUT):
            await _ping(channel, data)
    except (OSError, WireError, trio.ClosedResourceError, trio.TooSlowError) as error:
        raise BrokenOffError(f"a session by {transport.value} was opened but does not answer: {error}") from error
    finally:
        channel.close()
    return ProbeTimes(opened - began, trio.current_time() - opened)


async def _ping(channel: Channel, data: bytes) -> None:
    connection = Connection("client")
    connection.ping()
    await channel.send(connection.take())
    while not any(isinstance(event, PingAnswered) for event in connection.receive_data(data)):
        data = await channel.receive()
        if not data:
            raise ConnectionAbortedError("it was closed")


async def _credentials(requested: Awaitable[Headers]) -> Headers:
    try:
        with trio.fail_after(CREDENTIALS_TIMEOUT):
            return await requested
    except trio.TooSlowError as error:
        raise UnreachableError(f"no credentials were given within {CREDENTIALS_TIMEOUT:.0f} s") from error


async def _open(transport: Transport, server: ApiServer, pod: PodRef, credentials: Headers) -> tuple[Channel, bytes]:
    channel = await dial(server)
    try:
        with trio.fail_after(UPGRADE_TIMEOUT):
            return await _upgrade(transport)(channel, server.portforward_request(pod, credentials))
    except BaseException as error:
        channel.close()
        if isinstance(error, OSError | BrokenOffError | trio.ClosedResourceError | trio.TooSlowError):
            why = str(error) or f"no answer within {UPGRADE_TIMEOUT:.0f} s"
            where = authority(server.host, server.port)
            raise BrokenOffError(f"{where} broke off the port-forward request ({transport.value}): {why}") from error
        raise


def _upgrade(transport: Transport) -> Callable[[Channel, UpgradeRequest], Awaitable[tuple[Channel, bytes]]]:
    if transport is Transport.SPDY:
        return upgrade_to_spdy
    # wsproto costs every start 13 ms and is rarely needed.
    from forwarders.transports.websocket_channel import upgrade_to_websocket  # noqa: PLC0415

    return upgrade_to_websocket


def _combined(pod: PodRef, failures: dict[Transport, TransportError]) -> TransportError:
    """Combines the errors of the transports that were tried into one error with each reason."""
    if len(failures) == 1:
        return next(iter(failures.values()))
    forbidden = {transport: error for transport, error in failures.items() if isinstance(error, ForbiddenError)}
    if len(forbidden) == len(failures):
        verbs = " or ".join(f"{error.verb} (for {transport.value})" for transport, error in forbidden.items())
        user = next(iter(forbidden.values())).user
        text = f"may not forward to pods in namespace {pod.namespace}: RBAC lacks {verbs} on pods/portforward"
        return ForbiddenError(f"user {user} {text}", verbs, user)
    parts = "; ".join(f"{transport.value}: {error}" for transport, error in failures.items())
    return BrokenOffError(f"no session to pod {pod.namespace}/{pod.name} by either transport: {parts}")
