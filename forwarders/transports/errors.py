"""Owns what can go wrong between us and the API server when a session to a pod is opened."""

from __future__ import annotations

from forwarders.errors import ForwarderError


class TransportError(ForwarderError):
    """No session to a pod could be opened, or one broke."""


class UnreachableError(TransportError):
    """The API server did not answer: connect, TLS or the request itself failed."""


class ProxyError(UnreachableError):
    """The proxy on the way to the API server did not let us through."""


class BrokenOffError(UnreachableError):
    """The way to the API server stood; the upgrade was not answered, or not in HTTP. Some proxies treat one so."""


class RefusedError(TransportError):
    """The API server answered, but not with an upgrade; `status` is its HTTP status code."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class GatewayError(RefusedError):
    """Something before the API server is in trouble: with what is behind it, or with this upgrade."""


class UpgradeError(RefusedError):
    """This kind of upgrade is not made there: a proxy dropped it, or the server does not know it."""


class ForbiddenError(RefusedError):
    """RBAC says no. `verb` on pods/portforward is what `user` lacks in the pod's namespace; "" where not said."""

    def __init__(self, message: str, verb: str, user: str) -> None:
        super().__init__(message, 403)
        self.verb = verb
        self.user = user
