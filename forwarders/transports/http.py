"""Owns one HTTP/1.1 request that is to turn a channel into something else, by h11: an upgrade, or CONNECT.

Refuses to judge the answer, and deadlines. Nothing else is ever asked on such a channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import h11
from msgspec import Struct

from forwarders.errors import BrokenOffError, UnreachableError

# Of a refusal's body; a Status object is some hundred bytes.
MAX_REFUSAL = 64 * 1024
# Continue, Processing, Early Hints: the answer comes behind them.
_INTERIM = {100, 102, 103}


class Bytes(Protocol):
    """What of a Channel is needed here."""

    async def receive(self) -> bytes: ...
    async def send(self, data: bytes) -> None: ...


class Answer(Struct, frozen=True):
    """`headers` by lower-case name. `rest`: what came behind the head where it is `switched`, else the body's start."""

    status: int
    headers: Mapping[str, str]
    switched: bool
    rest: bytes


async def ask(channel: Bytes, method: str, target: str, headers: Sequence[tuple[str, str]]) -> Answer:
    """Raises BrokenOffError for an answer that is missing or no HTTP, and what the channel raises."""
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
        raise BrokenOffError(f"the answer is no HTTP: {error}") from error
    said = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    return Answer(response.status_code, said, switched, rest)


async def _response(http: h11.Connection, channel: Bytes) -> h11.Response | h11.InformationalResponse:
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            data = await channel.receive()
            if not data:
                raise BrokenOffError("the connection was closed before the request was answered")
            http.receive_data(data)
        elif isinstance(event, h11.Response | h11.InformationalResponse) and event.status_code not in _INTERIM:
            return event


async def _body(http: h11.Connection, channel: Bytes) -> bytes:
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
