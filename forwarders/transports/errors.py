"""Owns what can go wrong between us and the API server when a session to a pod is opened."""

from __future__ import annotations

from forwarders.errors import ForwarderError


class TransportError(ForwarderError):
    """No session to a pod could be opened, or one broke."""


class UnreachableError(TransportError):
    """The API server did not answer: connect, TLS or the request itself failed."""


class RefusedError(TransportError):
    """The API server answered, but not with an upgrade; `status` is its HTTP status code."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
