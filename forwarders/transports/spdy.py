"""Owns the upgrade of a channel to SPDY/3.1 by POST. Refuses what is spoken after it, and to try twice.

Kubernetes: apimachinery/pkg/util/httpstream/spdy, kubelet pkg/cri/streaming/portforward.
"""

from __future__ import annotations

from forwarders.errors import UpgradeError
from forwarders.transports.channel import Channel
from forwarders.transports.http import ask
from forwarders.transports.refusals import refusal
from forwarders.transports.request import PROTOCOL, Request

UPGRADE = "SPDY/3.1"


async def upgrade(channel: Channel, request: Request) -> tuple[Channel, bytes]:
    """The channel and the bytes that came behind the upgrade. Raises RefusedError and what the channel raises."""
    headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", UPGRADE),
        ("X-Stream-Protocol-Version", PROTOCOL),
        ("Content-Length", "0"),
    ]
    answer = await ask(channel, "POST", request.target, [*request.headers, *headers])
    if not answer.switched:
        raise refusal(request.pod, answer)
    if (said := answer.headers.get("upgrade", "")).lower() != UPGRADE.lower():
        raise UpgradeError(f"the API server was asked for {UPGRADE} and upgraded to {said!r}", answer.status)
    return channel, answer.rest
