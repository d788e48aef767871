"""The status address: HTTP over the board. This module has its requests and responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, unquote

from msgspec import Struct


class StatusRequest(Struct, frozen=True):
    """A request to the status address. Header names are in lower case, repeated headers are kept.

    `target`: as sent. `local`: our address and port.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    local: tuple[str, int]

    @property
    def path(self) -> str:
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> Mapping[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    def header(self, name: str) -> str:
        """The value of header `name`; "" if it is absent or repeated."""
        values = [value for given, value in self.headers if given == name]
        return values[0] if len(values) == 1 else ""

    def cookie(self, name: str) -> str:
        try:
            morsel = SimpleCookie(self.header("cookie")).get(name)
        except CookieError:
            return ""
        return morsel.value if morsel else ""


class StatusResponse(Struct, frozen=True, kw_only=True):
    """The response to a request. `stream`: sent instead of `body`, until it ends or the client disconnects."""

    status: HTTPStatus = HTTPStatus.OK
    body: bytes = b""
    media_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    stream: AbstractAsyncContextManager[AsyncIterator[bytes]] | None = None


def plain_text(line: str, status: HTTPStatus = HTTPStatus.OK, *headers: tuple[str, str]) -> StatusResponse:
    """A plain-text response of one or more lines."""
    return StatusResponse(status=status, body=f"{line}\n".encode(), headers=headers)
