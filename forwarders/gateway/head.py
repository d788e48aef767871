"""Parses one request's head, and refuses everything that two parsers might read differently (request smuggling).

h11 parses; the checks here are stricter. The pod gets the bytes unchanged. RFC 9112, sections 2.2 (line ends), 3.2
(target and Host), 6 (body lengths) and 11.2 (smuggling).
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import h11
from msgspec import Struct

from forwarders.errors import NotHttpError, RequestError

# Apache and nginx take 8 KiB a line; Chromium sends more than 64 KiB of cookies only to servers that have set them.
MAX_HEAD = 64 * 1024
# Each costs h11 some microseconds; nginx and Node.js accept at most 2,000, Apache 100.
MAX_LINES = 512
END = b"\r\n\r\n"
# The first bytes of a request line. A TLS ClientHello does not match, and PRI begins HTTP/2 (RFC 9113, 3.4).
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}( |$)")
# Line ends that other parsers do not accept, folded lines, and lists of lengths that h11 would merge into one.
_AMBIGUOUS = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0|\r\n[ \t]|\r\ncontent-length:(?![ \t]*[0-9]+[ \t]*\r)", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,18}")
# With underscores: Docker's names have them, and browsers accept them.
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?\.?|\[[0-9a-f:.]+\]")

# Values by lower-case name, as h11 returns it.
Fields = dict[bytes, list[str]]


class RequestHead(Struct, frozen=True):
    """The parts of a request's head that the gateway needs. `host`: lower case, without port and final dot.

    `length`: bytes of the body, None: it is chunked. `upgrade`: it asks for another protocol, e.g. a WebSocket.
    """

    method: str
    target: str
    host: str
    length: int | None
    upgrade: bool


def looks_like_http(data: bytes) -> bool:
    """Whether these may be the first bytes of a request line."""
    return _METHOD.match(data) is not None and not data.startswith(b"PRI ")


def parse_head(head: bytes) -> RequestHead:
    """Parse and check a head, which includes the blank line. Raises RequestError."""
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


def _request(event: h11.Request) -> RequestHead:
    method, target = event.method.decode("ascii"), event.target.decode("ascii", "replace")
    if method == "CONNECT":
        raise RequestError(405, "CONNECT is for proxies, and the gateway is not a proxy")
    fields: Fields = {}
    for name, value in event.headers:
        fields.setdefault(name, []).append(value.decode("latin-1"))
    length = _length(fields, event.http_version)
    return RequestHead(method, target, _host(fields, target), length, _wants_upgrade(fields))


def _host(fields: Fields, target: str) -> str:
    hosts = fields.get(b"host", [])
    if len(hosts) != 1:
        raise RequestError(400, f"a request must have one Host, this one has {len(hosts)}")
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
    """Normalize the value of a Host header: lower case, without port and final dot. Raises RequestError."""
    name, colon, port = text.lower().rpartition(":")
    if not colon or "]" in port:
        name, port = text.lower(), ""
    if not _HOST.fullmatch(name) or not (port.isascii() and (not port or port.isdigit())):
        raise RequestError(400, "the Host is not a valid host name")
    return name.removesuffix(".")


def _length(fields: Fields, version: bytes) -> int | None:
    """The length of the body; None if it is chunked."""
    codings, lengths = fields.get(b"transfer-encoding", []), fields.get(b"content-length", [])
    if codings and (lengths or version < b"1.1"):
        raise RequestError(400, "a request must not have both a Transfer-Encoding and a Content-Length")
    if codings:
        if [coding.lower() for coding in codings] != ["chunked"]:
            raise RequestError(501, "chunked is the only supported Transfer-Encoding")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise RequestError(400, "a request may have one Content-Length, which must be a number")
    return int(lengths[0])


def _wants_upgrade(fields: Fields) -> bool:
    """Whether the request asks for another protocol than HTTP: HTTP/2 would carry requests for any Host, unchecked."""
    protocols = [one.strip().lower() for value in fields.get(b"upgrade", []) for one in value.split(",")]
    return bool(protocols) and not any(one.startswith(("h2", "http")) for one in protocols)
