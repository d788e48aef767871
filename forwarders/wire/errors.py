"""Owns the wire's errors: our own misuse and the peer's misbehaviour are different things (as in h11)."""

from __future__ import annotations

from forwarders.errors import ForwarderError


class WireError(ForwarderError):
    """Root of what `wire` raises."""


class LocalProtocolError(WireError):
    """We asked for something the protocol does not allow: a bug of ours."""


class RemoteProtocolError(WireError):
    """The peer sent bytes that are not SPDY/3.1, or no WebSocket: the session cannot go on."""
