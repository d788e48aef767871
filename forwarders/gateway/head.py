"""Owns one request's head: bytes in, a Request out. Stricter than HTTP asks: nothing that two parsers read differently.

Refuses IO, and to change a byte: what was read is what the pod gets. Parsing itself is h11's; RFC 9112, sections 2.2
(line ends), 3.2 (target and Host) and 6 (body lengths; request smuggling is 11.2).
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import h11
from msgspec import Struct

from forwarders.errors import NotHttpError, RequestError

# Apache and nginx take 8 KiB a line, Chromium sends cookies up to about 180 KiB in all only to those who set them.
MAX_HEAD = 64 * 1024
# Each costs h11 some microseconds; nginx and Node.js have no more than 2,000, Apache 100.
MAX_LINES = 512
END = b"\r\n\r\n"
# A request line is recognized by its first bytes; a TLS ClientHello is none, and PRI begins HTTP/2 (RFC 9113, 3.4).
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}( |$)")
# Line ends that are none to others, folded lines, and lengths that h11 makes one of: the pod sees what was sent.
_AMBIGUOUS = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0|\r\n[ \t]|\r\ncontent-length:(?![ \t]*[0-9]+[ \t]*\r)", re.IGNORECASE)
# What Docker calls things has underscores, and browsers take them.
_LENGTH = re.compile(r"[0-9]{1,18}")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?\.?|\[[0-9a-f:.]+\]")


# Values by name in lower case, as h11 gives it.
Fields = dict[bytes, list[str]]


class Request(Struct, frozen=True):
    """`host`: lower case, without port and last dot. `length`: bytes of the body, None: it is chunked.

    `upgrade`: it asks for another protocol, one that is not HTTP: a WebSocket, say.
    """

    method: str
    target: str
    host: str
    length: int | None
    upgrade: bool


def looks_like_http(data: bytes) -> bool:
    """Whether these first bytes may begin a request line."""
    return _METHOD.match(data) is not None and not data.startswith(b"PRI ")


def parse(head: bytes) -> Request:
    """`head` with its blank line. Raises RequestError."""
    if not looks_like_http(head):
        raise NotHttpError
    if head.count(b"\n") > MAX_LINES:
        raise RequestError(431, f"the request's head has more than {MAX_LINES} lines")
    if _AMBIGUOUS.search(head):
        raise RequestError(400, "the request's head has a line that can be read in more than one way")
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    try:
        connection.receive_data(head)
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise RequestError(400, f"the request cannot be read: {error}") from None
    if not isinstance(event, h11.Request):
        raise RequestError(400, "the request's head does not end where it should")
    return _request(event)


def _request(event: h11.Request) -> Request:
    method, target = event.method.decode("ascii"), event.target.decode("ascii", "replace")
    if method == "CONNECT":
        raise RequestError(405, "CONNECT is for proxies, and this is none")
    fields: Fields = {}
    for name, value in event.headers:
        fields.setdefault(name, []).append(value.decode("latin-1"))
    length = _length(fields, event.http_version)
    return Request(method, target, _host(fields, target), length, _wants_upgrade(fields))


def _host(fields: Fields, target: str) -> str:
    hosts = fields.get(b"host", [])
    if len(hosts) != 1:
        raise RequestError(400, f"a request has one Host, this one has {len(hosts)}")
    host = host_name(hosts[0])
    if target.startswith("/") or target == "*":
        return host
    try:
        authority = urlsplit(target).netloc
    except ValueError:
        authority = ""
    if not target.lower().startswith("http://") or host_name(authority) != host:
        raise RequestError(400, "the request's target is neither a path nor a URL at its Host")
    return host


def host_name(text: str) -> str:
    """`text` of a Host header without port and last dot, in lower case. Raises RequestError."""
    name, colon, port = text.lower().rpartition(":")
    if not colon or "]" in port:
        name, port = text.lower(), ""
    if not _HOST.fullmatch(name) or not (port.isascii() and (not port or port.isdigit())):
        raise RequestError(400, "the Host is no name of a host")
    return name.removesuffix(".")


def _length(fields: Fields, version: bytes) -> int | None:
    """The body's bytes; None where it is chunked."""
    codings, lengths = fields.get(b"transfer-encoding", []), fields.get(b"content-length", [])
    if codings and (lengths or version < b"1.1"):
        raise RequestError(400, "a body has a Transfer-Encoding or a Content-Length, not both")
    if codings:
        if [coding.lower() for coding in codings] != ["chunked"]:
            raise RequestError(501, "no Transfer-Encoding but chunked is taken")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise RequestError(400, "a request has at most one Content-Length, and that is a number")
    return int(lengths[0])


def _wants_upgrade(fields: Fields) -> bool:
    """HTTP/2 does not count: requests with any Host may come on it, and nobody would see."""
    protocols = [one.strip().lower() for value in fields.get(b"upgrade", []) for one in value.split(",")]
    return bool(protocols) and not any(one.startswith(("h2", "http")) for one in protocols)
