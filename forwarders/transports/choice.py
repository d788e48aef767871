"""Owns which transport the next session to a server is opened with: a state, and a table of what each try tells.

Pure: no IO, no clock; time is counted in tries. Only what is about the transport changes it, and a transport that
failed beside the other is left alone for a while: failed WebSocket tunnels leak in old containerd (kubernetes #126608).
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from forwarders.errors import BrokenOffError, ForbiddenError, GatewayError, TransportError, UpgradeError

# Failures in a row that may have other causes before one that has worked is doubted: an API server that restarts
# makes one or two.
DOUBTS = 3
# Failed tries before the other one, which failed too, is tried beside it again; the pool makes two a second.
PAUSE = 10


class Transport(Enum):
    """By its name for people. RBAC asks for `create` on pods/portforward, or `get` (from 1.35 on `create` as well)."""

    SPDY = "SPDY"
    WEBSOCKET = "WebSocket"

    @property
    def other(self) -> Transport:
        return Transport.WEBSOCKET if self is Transport.SPDY else Transport.SPDY


class Verdict(Enum):
    """What one try says about its transport."""

    WORKS = "works"
    BARRED = "barred"  # not this way: the verb is missing, or a proxy drops the upgrade
    DOUBTFUL = "doubtful"  # broken off, or a gateway in trouble: perhaps because of this kind of upgrade
    UNRELATED = "unrelated"  # the pod, the credentials, the network: the other one would fare the same


_VERDICTS: tuple[tuple[type[TransportError], Verdict], ...] = (
    (ForbiddenError, Verdict.BARRED),
    (UpgradeError, Verdict.BARRED),
    (GatewayError, Verdict.DOUBTFUL),
    (BrokenOffError, Verdict.DOUBTFUL),
    (TransportError, Verdict.UNRELATED),
)


def verdict(error: TransportError) -> Verdict:
    return next(verdict for kind, verdict in _VERDICTS if isinstance(error, kind))


class Choice(Struct, frozen=True):
    """`proven`: it has worked. `doubts`: doubtful failures since. `pause`: failures until the other is tried again."""

    transport: Transport = Transport.SPDY
    proven: bool = False
    doubts: int = 0
    pause: int = 0


def tries_other(choice: Choice, told: Verdict) -> bool:
    """Whether the other transport is tried at once, after the chosen one has told this."""
    if choice.pause:
        return False
    doubted = told is Verdict.DOUBTFUL and (not choice.proven or choice.doubts + 1 >= DOUBTS)
    return told is Verdict.BARRED or doubted


def after(choice: Choice, told: Verdict, other: Verdict | None = None) -> Choice:
    """The choice after a try; `other`: what the other transport told, where it was tried as well."""
    if told is Verdict.WORKS:
        return Choice(choice.transport, proven=True)
    if other is Verdict.WORKS:
        return Choice(choice.transport.other, proven=True)
    doubts = choice.doubts + (told is Verdict.DOUBTFUL)
    if other in {Verdict.BARRED, Verdict.DOUBTFUL}:
        return replace(choice, doubts=doubts, pause=PAUSE)
    if told is Verdict.UNRELATED:
        return choice
    return replace(choice, doubts=doubts, pause=max(choice.pause - 1, 0))
