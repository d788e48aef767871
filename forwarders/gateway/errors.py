"""Owns what a client can do wrong at the gateway, each with the status it is answered with."""

from __future__ import annotations

from forwarders.errors import ForwarderError


class RequestError(ForwarderError):
    """A request that goes to no pod; `status` is what it is answered with, 0: nothing, the connection just ends."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NotHttpError(RequestError):
    """What came is no request of HTTP/1."""

    def __init__(self) -> None:
        super().__init__(0, "what came is no HTTP/1, which is all that is spoken there: use the forward's own port")
