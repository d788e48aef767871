"""Owns sessions' channels to the pods of one API server: by the transport that works there, remembered.

Refuses retries beyond one after a 401 and one by the other transport: the pool's. RBAC may differ by namespace, so
each has a choice of its own; it begins with what worked last anywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio
from msgspec import Struct

from forwarders.errors import (
    BrokenOffError,
    ForbiddenError,
    RefusedError,
    TransportError,
    UnreachableError,
    WireError,
)
from forwarders.spec import PodRef
from forwarders.transports import spdy
from forwarders.transports.channel import Channel
from forwarders.transports.choice import Choice, Transport, Verdict, after, tries_other, verdict
from forwarders.transports.dial import dial
from forwarders.transports.proxy import authority
from forwarders.transports.request import Request, request
from forwarders.transports.server import ApiServer, Headers
from forwarders.wire.connection import Connection
from forwarders.wire.events import PingAnswered

logger = logging.getLogger("portside.sessions")

# Seconds from the request to its answer: the API server dials the kubelet, and that the runtime; 14 ms on a near one.
UPGRADE_TIMEOUT = 5.0
# Credentials are not counted in: a plugin may have to ask somebody. One that hangs shall not hang us.
CREDENTIALS_TIMEOUT = 60.0


class Opener:
    """`open` is what a pool asks for its sessions."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._choices: dict[str, Choice] = {}
        self._latest = Choice()
        # Why each transport failed last, for the message while only one is being tried.
        self._failures: dict[str, dict[Transport, TransportError]] = {}

    def move(self, server: ApiServer) -> None:
        """Open sessions at this server from now on, by the transport that works there."""
        self._server = server
        self._choices.clear()
        self._failures.clear()

    async def open(self, pod: PodRef) -> tuple[Channel, bytes]:
        """A channel that speaks SPDY/3.1 with the pod's runtime, and the bytes that came behind the upgrade.

        Raises UnreachableError and RefusedError; where both transports failed, one that names both reasons.
        """
        choice = self._choice(pod)
        try:
            opened = await open_by(choice.transport, self._server, pod)
        except TransportError as error:
            return await self._by_the_other(choice.transport, pod, error)
        self._works(choice.transport, pod)
        return opened

    async def _by_the_other(self, failed: Transport, pod: PodRef, error: TransportError) -> tuple[Channel, bytes]:
        told = verdict(error)
        if told is Verdict.UNRELATED:
            raise error
        failures = self._failures.setdefault(pod.namespace, {})
        failures[failed] = error
        # As it is now: others may have found out more meanwhile.
        if self._choice(pod).transport is failed and not tries_other(self._choice(pod), told):
            self._fails(failed, pod, told)
            raise _joined(pod, failures) from error
        try:
            opened = await open_by(failed.other, self._server, pod)
        except TransportError as second:
            self._fails(failed, pod, told, verdict(second))
            if verdict(second) is Verdict.UNRELATED:
                raise
            failures[failed.other] = second
            raise _joined(pod, failures) from second
        if self._choice(pod).transport is failed:
            logger.info("%s; sessions are opened by %s from now on", error, failed.other.value)
        self._works(failed.other, pod)
        return opened

    def _choice(self, pod: PodRef) -> Choice:
        return self._choices.get(pod.namespace, self._latest)

    def _works(self, transport: Transport, pod: PodRef) -> None:
        self._latest = self._choices[pod.namespace] = after(Choice(transport), Verdict.WORKS)
        self._failures.pop(pod.namespace, None)

    def _fails(self, transport: Transport, pod: PodRef, told: Verdict, other: Verdict | None = None) -> None:
        if self._choice(pod).transport is transport:
            self._choices[pod.namespace] = after(self._choice(pod), told, other)


async def open_by(transport: Transport, server: ApiServer, pod: PodRef) -> tuple[Channel, bytes]:
    """By this transport alone. Raises TransportError."""
    credentials = await _credentials(server, None)
    try:
        return await _open(transport, server, pod, credentials)
    except RefusedError as error:
        if error.status != 401:
            raise
        renewed = await _credentials(server, credentials)
        if renewed and renewed == credentials:  # none: with a client certificate, which may be another one now
            raise
    return await _open(transport, server, pod, renewed)


class Probed(Struct, frozen=True):
    """Seconds: from nothing to an open session, and from a PING on it to the runtime's answer."""

    opened: float
    round_trip: float


async def probe(transport: Transport, server: ApiServer, pod: PodRef) -> Probed:
    """Whether this transport works to a pod, and how fast; nothing is dialled in the pod. Raises TransportError."""
    began = trio.current_time()
    channel, data = await open_by(transport, server, pod)
    opened = trio.current_time()
    try:
        with trio.fail_after(UPGRADE_TIMEOUT):
            await _pinged(channel, data)
    except (OSError, WireError, trio.ClosedResourceError, trio.TooSlowError) as error:
        raise BrokenOffError(f"a session by {transport.value} was opened but does not answer: {error}") from error
    finally:
        channel.close()
    return Probed(opened - began, trio.current_time() - opened)


async def _pinged(channel: Channel, data: bytes) -> None:
    spdy_session = Connection("client")
    spdy_session.ping()
    await channel.send(spdy_session.take())
    while not any(isinstance(event, PingAnswered) for event in spdy_session.receive_data(data)):
        data = await channel.receive()
        if not data:
            raise ConnectionAbortedError("it was closed")


async def _credentials(server: ApiServer, refused: Headers | None) -> Headers:
    try:
        with trio.fail_after(CREDENTIALS_TIMEOUT):
            if refused is None:
                return await server.authorize(False)  # noqa: FBT003 - its only argument
            return await server.authorize_after(refused)
    except trio.TooSlowError as error:
        raise UnreachableError(f"no credentials were given within {CREDENTIALS_TIMEOUT:.0f} s") from error


async def _open(transport: Transport, server: ApiServer, pod: PodRef, credentials: Headers) -> tuple[Channel, bytes]:
    channel = await dial(server)
    try:
        with trio.fail_after(UPGRADE_TIMEOUT):
            return await _upgrade(transport)(channel, request(server, pod, credentials))
    except (OSError, BrokenOffError, trio.ClosedResourceError, trio.TooSlowError) as error:
        channel.close()
        why = str(error) or f"no answer within {UPGRADE_TIMEOUT:.0f} s"
        where = authority(server.host, server.port)
        raise BrokenOffError(f"{where} broke off the port-forward request ({transport.value}): {why}") from error
    except BaseException:
        channel.close()
        raise


def _upgrade(transport: Transport) -> Callable[[Channel, Request], Awaitable[tuple[Channel, bytes]]]:
    if transport is Transport.SPDY:
        return spdy.upgrade
    from forwarders.transports import websocket  # noqa: PLC0415 - wsproto costs every start 13 ms, and is seldom needed

    return websocket.upgrade


def _joined(pod: PodRef, failures: dict[Transport, TransportError]) -> TransportError:
    """One error for what each transport met; its status is the last one's."""
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
