"""What the forwards to one cluster's pods need of that cluster: sessions, their pace, and whose an address is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from msgspec import Struct, field

from forwarders.backoff import TURN, RetryLimiter
from forwarders.spec import PodRef
from forwarders.transports.sockets import Channel


async def _never(pod: PodRef, address: str) -> bool:  # noqa: ARG001 - the type's signature
    return False


class ClusterRoute(Struct, frozen=True):
    """`open_channel` opens a session to a pod. `limiter`: the pace of all tries at the cluster's API server.

    `on_silence` is called if the API server seems to be away. `confirm`: whether an address is that pod's at present.
    """

    open_channel: Callable[[PodRef], Awaitable[tuple[Channel, bytes]]]
    limiter: RetryLimiter = field(default_factory=partial(RetryLimiter, TURN))
    on_silence: Callable[[], None] = lambda: None
    confirm: Callable[[PodRef, str], Awaitable[bool]] = _never
