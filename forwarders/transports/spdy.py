"""Owns the way to a pod's port-forward endpoint: POST with an upgrade to SPDY/3.1, by h11 on our own channel.

Refuses retries other than one after a 401, and what is spoken after the upgrade. Kubernetes:
apimachinery/pkg/util/httpstream/spdy, kubelet pkg/cri/streaming/portforward.
"""

from __future__ import annotations

from urllib.parse import quote

import h11
import msgspec
import trio

from forwarders.spec import PodRef
from forwarders.transports import sockets
from forwarders.transports.channel import Channel, secure
from forwarders.transports.errors import RefusedError, TransportError, UnreachableError
from forwarders.transports.server import ApiServer

PROTOCOL = "portforward.k8s.io"
# Connect, TLS and upgrade together: 14 ms on a near cluster; a far one that needs longer than this is not usable.
OPEN_TIMEOUT = 10.0
# Of a refusal's body; a Status object is some hundred bytes.
MAX_REFUSAL = 64 * 1024


class _StatusBody(msgspec.Struct):
    message: str = ""


async def open_channel(server: ApiServer, pod: PodRef) -> tuple[Channel, bytes]:
    """A channel that speaks SPDY/3.1 with the pod's runtime, and the bytes that came behind the upgrade.

    Raises UnreachableError (also after OPEN_TIMEOUT seconds) and RefusedError.
    """
    try:
        with trio.fail_after(OPEN_TIMEOUT):
            try:
                return await _upgrade(server, pod, renew=False)
            except RefusedError as error:
                if error.status != 401:
                    raise
                return await _upgrade(server, pod, renew=True)
    except trio.TooSlowError as error:
        raise UnreachableError(f"{_where(server)} gave no port-forward session within {OPEN_TIMEOUT:.0f} s") from error


def _where(server: ApiServer) -> str:
    return f"{server.host}:{server.port}"


async def _upgrade(server: ApiServer, pod: PodRef, *, renew: bool) -> tuple[Channel, bytes]:
    credentials = await server.authorize(renew)
    try:
        sock = await sockets.connect(server.host, server.port)
    except OSError as error:
        raise UnreachableError(f"cannot connect to the API server {_where(server)}: {error}") from error
    channel = await secure(sock, server.tls, server.server_name)
    try:
        return channel, await _request(channel, server, pod, credentials)
    except TransportError:
        channel.close()
        raise
    except (OSError, h11.RemoteProtocolError, trio.ClosedResourceError) as error:
        channel.close()
        raise UnreachableError(f"{_where(server)} broke off the port-forward request: {error}") from error
    except BaseException:
        channel.close()
        raise


async def _request(channel: Channel, server: ApiServer, pod: PodRef, credentials: list[tuple[str, str]]) -> bytes:
    http = h11.Connection(h11.CLIENT)
    target = f"{server.prefix}/api/v1/namespaces/{quote(pod.namespace)}/pods/{quote(pod.name)}/portforward"
    try:
        request = h11.Request(
            method="POST",
            target=target,
            headers=[
                ("Host", _where(server)),
                ("User-Agent", "portside"),
                ("Connection", "Upgrade"),
                ("Upgrade", "SPDY/3.1"),
                ("X-Stream-Protocol-Version", PROTOCOL),
                ("Content-Length", "0"),
                *credentials,
            ],
        )
        head = http.send(request)
    except (h11.LocalProtocolError, ValueError):
        # The error's own text would show the credentials.
        raise UnreachableError("the credentials for the API server cannot be sent as HTTP headers") from None
    await channel.send(head + http.send(h11.EndOfMessage()))
    response = await _next_response(http, channel)
    if response.status_code == 101:
        return http.trailing_data[0]
    body = await _body(http, channel)
    raise RefusedError(_refusal(pod, response.status_code, body), response.status_code)


async def _next_response(http: h11.Connection, channel: Channel) -> h11.Response | h11.InformationalResponse:
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await channel.receive())
        elif isinstance(event, h11.Response):
            return event
        elif isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                return event
        else:
            raise UnreachableError("the connection was closed before the port-forward request was answered")


async def _body(http: h11.Connection, channel: Channel) -> bytes:
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


def _refusal(pod: PodRef, status: int, body: bytes) -> str:
    try:
        said = msgspec.json.decode(body, type=_StatusBody).message
    except msgspec.DecodeError:
        said = ""
    return f"the API server refused port forwarding to pod {pod.namespace}/{pod.name}: {said or f'HTTP {status}'}"
