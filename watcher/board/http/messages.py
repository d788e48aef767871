"""Owns the values of one question and its answer. Refuses sockets, and to know what is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, unquote

from msgspec import Struct


class Request(Struct, frozen=True):
    """`target` as sent. `headers` in lower case, repeated ones kept. `local`: address and port it came in at."""

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
        """The only value of `name`; "" where there is none, or more than one."""
        values = [value for given, value in self.headers if given == name]
        return values[0] if len(values) == 1 else ""

    def cookie(self, name: str) -> str:
        try:
            found = SimpleCookie(self.header("cookie")).get(name)
        except CookieError:
            return ""
        return found.value if found else ""


class Answer(Struct, frozen=True, kw_only=True):
    """`stream`, where given, is entered, and sent piece by piece until it ends or the reader has left."""

    status: HTTPStatus = HTTPStatus.OK
    body: bytes = b""
    media_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    stream: AbstractAsyncContextManager[AsyncIterator[bytes]] | None = None


def text(line: str, status: HTTPStatus = HTTPStatus.OK, *headers: tuple[str, str]) -> Answer:
    """One or more lines for people."""
    return Answer(status=status, body=f"{line}\n".encode(), headers=headers)
