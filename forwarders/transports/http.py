"""Sends the one HTTP/1.1 request of a channel (an upgrade, or CONNECT), and turns a refused upgrade into an error.

The API server answers in Status objects, passes on texts of the kubelet and the runtime, and a proxy answers anything.
Measured on 1.34 (docs/design/wire.md). The caller sets the deadline.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import h11
import msgspec
from msgspec import Struct

from forwarders.errors import (
    BrokenOffError,
    ForbiddenError,
    GatewayError,
    RefusedError,
    UnreachableError,
    UpgradeError,
)
from forwarders.spec import PodRef
from forwarders.transports.sockets import Channel

# The protocol inside the upgraded connection: pairs of streams, as the runtime's port-forward handler expects them.
PROTOCOL = "portforward.k8s.io"
SPDY_UPGRADE = "SPDY/3.1"

# Bytes read of a refusal's body; a Status object has some hundred.
MAX_REFUSAL = 64 * 1024
# Continue, Processing, Early Hints: another response follows.
_INTERIM = {100, 102, 103}

# What API server, kubelet and runtime answer to an upgrade that arrived incomplete, or that they do not support.
_NO_UPGRADE = "(?i)upgrade request required|invalid upgrade|unable to upgrade|websocket: "
# The kubelet's own answers about the pod, which are not Status objects.
_POD = "(?i)pod not found|container not found|sandbox"
_RIGHTS = r'User "(?P<user>[^"]*)" cannot (?P<verb>[a-z]+) resource'
# From Kubernetes 1.35 on, a WebSocket needs `create` as well. RBAC then refuses without a reason.
_NO_REASON = r'^pods "[^"]*" is forbidden: ?$'
# A proxy that cannot reach what is behind it, or asks to try later.
_GATEWAY = {408, 429, 500, 502, 503, 504}
# Characters of a text that is not a Status; the first line has to be enough.
MAX_TEXT = 200


class ByteStream(Protocol):
    """The part of a Channel that a request needs."""

    async def receive(self) -> bytes: ...
    async def send(self, data: bytes) -> None: ...


class HttpResponse(Struct, frozen=True):
    """A response. `headers`: by lower-case name. `rest`: after the head if `switched`, else the body's start."""

    status: int
    headers: Mapping[str, str]
    switched: bool
    rest: bytes


class UpgradeRequest(Struct, frozen=True):
    """A request for a pod's port-forward endpoint, whatever the transport. `headers`: Host, User-Agent, credentials."""

    pod: PodRef
    target: str
    headers: Sequence[tuple[str, str]]


async def send_request(
    channel: ByteStream, method: str, target: str, headers: Sequence[tuple[str, str]]
) -> HttpResponse:
    """Send a request and read the response. Raises BrokenOffError without one, and what `channel` raises."""
    http = h11.Connection(h11.CLIENT)
    try:
        head = http.send(h11.Request(method=method, target=target, headers=list(headers)))
    except (h11.LocalProtocolError, ValueError):
        # The error's own text would show the credentials.
        raise UnreachableError("the credentials for the API server cannot be sent as HTTP headers") from None
    await channel.send(head + http.send(h11.EndOfMessage()))
    try:
        response = await _response(http, channel)
        switched = http.their_state is h11.SWITCHED_PROTOCOL
        rest = http.trailing_data[0] if switched else await _body(http, channel)
    except h11.RemoteProtocolError as error:
        raise BrokenOffError(f"the answer is not HTTP: {error}") from error
    fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    return HttpResponse(response.status_code, fields, switched, rest)


async def _response(http: h11.Connection, channel: ByteStream) -> h11.Response | h11.InformationalResponse:
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            data = await channel.receive()
            if not data:
                raise BrokenOffError("the connection was closed before the request was answered")
            http.receive_data(data)
        elif isinstance(event, h11.Response | h11.InformationalResponse) and event.status_code not in _INTERIM:
            return event


async def _body(http: h11.Connection, channel: ByteStream) -> bytes:
    body = b""
    while len(body) < MAX_REFUSAL:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await channel.receive())
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            break
    return body


async def upgrade_to_spdy(channel: Channel, request: UpgradeRequest) -> tuple[Channel, bytes]:
    """Upgrade by POST; return the channel and the bytes after the response. Raises RefusedError, or as `send_request`.

    Kubernetes: apimachinery/pkg/util/httpstream/spdy, kubelet pkg/cri/streaming/portforward.
    """
    headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", SPDY_UPGRADE),
        ("X-Stream-Protocol-Version", PROTOCOL),
        ("Content-Length", "0"),
    ]
    response = await send_request(channel, "POST", request.target, [*request.headers, *headers])
    if not response.switched:
        raise refusal(request.pod, response)
    if (upgraded := response.headers.get("upgrade", "")).lower() != SPDY_UPGRADE.lower():
        raise UpgradeError(f"the API server was asked for {SPDY_UPGRADE} and upgraded to {upgraded!r}", response.status)
    return channel, response.rest


# Refusals: about the pod, about RBAC, or about this kind of upgrade


class _KubernetesStatus(Struct):
    kind: str = ""
    message: str = ""


def refusal(pod: PodRef, response: HttpResponse) -> RefusedError:
    """Turn a response that is not an upgrade into an error."""
    status = _kubernetes_status(response.rest)
    plain = response.rest.decode("utf-8", "replace")
    shown = status.message or _one_line(response, plain)
    text = f"the API server refused port forwarding to pod {pod.namespace}/{pod.name}: {shown}"
    if re.search(_NO_UPGRADE, status.message or plain):
        return UpgradeError(text, response.status)
    if status.kind == "Status":
        return _denial(status.message, text) if response.status == 403 else RefusedError(text, response.status)
    if response.status == 401 or re.search(_POD, plain):
        return RefusedError(text, response.status)
    kind = GatewayError if response.status in _GATEWAY else UpgradeError
    return kind(f"no upgrade for pod {pod.namespace}/{pod.name}: {shown} from a proxy on the way", response.status)


def _denial(message: str, text: str) -> RefusedError:
    """The error for a 403 of the API server: from RBAC, with the missing verb, or from an admission plugin."""
    if rights := re.search(_RIGHTS, message):
        return ForbiddenError(text, rights["verb"], rights["user"])
    if re.match(_NO_REASON, message):
        return ForbiddenError(f"{text}RBAC lacks create on pods/portforward", "create", "")
    return RefusedError(text, 403)


def _kubernetes_status(body: bytes) -> _KubernetesStatus:
    try:
        return msgspec.json.decode(body, type=_KubernetesStatus)
    except msgspec.DecodeError:
        return _KubernetesStatus()


def _one_line(response: HttpResponse, text: str) -> str:
    line = text.strip().partition("\n")[0][:MAX_TEXT]
    plain = response.headers.get("content-type", "").startswith("text/plain")
    return f"HTTP {response.status}: {line}" if plain and line else f"HTTP {response.status}"
