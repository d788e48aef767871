"""Every error that `forwarders` raises to its callers. Each message says what was tried and what came back."""

from __future__ import annotations


class ForwarderError(Exception):
    """Base class: something between a local socket and a pod failed."""


# The SPDY and WebSocket protocols. As in h11, our own misuse and the peer's misbehaviour are different errors.


class WireError(ForwarderError):
    """Base class of the errors of `forwarders.wire`."""


class LocalProtocolError(WireError):
    """We asked for something the protocol does not allow: a bug of ours."""


class RemoteProtocolError(WireError):
    """The peer sent bytes that are not SPDY/3.1, or not a WebSocket: the session cannot go on."""


# Opening a session to a pod through the API server


class TransportError(ForwarderError):
    """A session to a pod could not be opened, or it broke."""


class UnreachableError(TransportError):
    """The API server did not answer: the connection, TLS or the request itself failed."""


class ProxyError(UnreachableError):
    """The proxy in front of the API server did not make the connection."""


class BrokenOffError(UnreachableError):
    """The connection was there, but the upgrade was not answered, or not in HTTP. Some proxies treat upgrades so."""


class RefusedError(TransportError):
    """The API server answered, but not with an upgrade; `status` is its HTTP status code."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class GatewayError(RefusedError):
    """A proxy in front of the API server failed: it does not reach the server, or does not handle this upgrade."""


class UpgradeError(RefusedError):
    """This kind of upgrade does not work there: a proxy dropped it, or the server does not support it."""


class ForbiddenError(RefusedError):
    """RBAC refused. `user` lacks `verb` on pods/portforward in the pod's namespace; "" for what it did not say."""

    def __init__(self, message: str, verb: str, user: str) -> None:
        super().__init__(message, 403)
        self.verb = verb
        self.user = user


# Sessions and the connections on them


class SessionLostError(ForwarderError):
    """The session to a pod is over, and so are its tunnels."""


class SilentError(SessionLostError):
    """The session gave no sign of life: the whole path to the API server may be dead."""


class TunnelError(ForwarderError):
    """The connection to a pod's port broke; what was received may be short."""


class DialError(TunnelError):
    """The runtime got no connection to the port: no byte can have reached an application, so another dial is safe."""

    def __init__(self, message: str, *, sandbox_gone: bool = False) -> None:
        super().__init__(message)
        self.sandbox_gone = sandbox_gone


# Local listeners and the connections accepted there


class BindError(ForwarderError):
    """None of the ports that may be used could be bound at this address."""


class HoldExpiredError(ForwarderError):
    """No pod could serve a connection within its hold time."""


class ClientLeftError(ForwarderError):
    """The client closed its connection before any of its bytes were sent."""


# Requests at the gateway


class RequestError(ForwarderError):
    """A request that goes to no pod. `status` is what it is answered with; 0: the connection is closed silently."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NotHttpError(RequestError):
    """The client does not speak HTTP/1."""

    def __init__(self) -> None:
        super().__init__(0, "the client does not speak HTTP/1; for other protocols use the forward's own port")
