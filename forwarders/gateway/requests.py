"""Follows the requests on one connection, so that no request for another Host reaches the pod.

It does no IO and changes no byte, except that it drops empty lines before the first request, which some servers
refuse. A request's head is read completely before its first byte may go on, and must have the Host of the first one;
bodies are counted. Only a protocol that the pod has accepted (101) passes unread.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from enum import Enum, auto

from forwarders.errors import NotHttpError, RequestError
from forwarders.gateway.head import END, MAX_HEAD, RequestHead, looks_like_http, parse_head

# RFC 9112, 7.1: a size in hexadecimal, perhaps extensions. 16 digits are more than any body.
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(;[^\r\n\0]*)?\r\n")
MAX_CHUNK_LINE = 4 * 1024
# Empty lines before a request line: RFC 9112, 2.2, tells servers to ignore at least one.
MAX_EMPTY_LINES = 8
# Trailers must not say where a message goes or how long it is (RFC 9110, 6.5.1): a pod that treats trailers as headers
# would see another Host.
_NO_TRAILERS = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"te", b"trailer"}
)
# Work is counted in steps of some microseconds: a chunk's line or a trailer is one step, a head counts as this many.
_HEAD_STEPS = 32
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n")
_CRLF = b"\r\n"


class _RequestState(Enum):
    HEAD = auto()
    BODY = auto()
    CHUNK_SIZE = auto()
    CHUNK_DATA = auto()
    CHUNK_END = auto()
    TRAILERS = auto()
    UPGRADING = auto()  # bytes are kept until the pod has answered
    OPAQUE = auto()


class Requests:
    """Parses a client's bytes and releases those that may go to the pod. `first`: the first request, if complete.

    `refused`: why no further byte is released.
    """

    def __init__(self) -> None:
        self.first: RequestHead | None = None
        self.refused: RequestError | None = None
        self._state = _RequestState.HEAD
        self._kept = b""
        self._at = 0  # the bytes of `_kept` before it may go on
        self._left = 0
        self._empty_lines = 0
        self.more = False

    @property
    def undecided(self) -> bool:
        """Whether bytes are kept until `upgraded`: the client asked for another protocol; the pod's answer is due."""
        return self._state is _RequestState.UPGRADING

    def feed(self, data: bytes, steps: float = math.inf) -> bytes:
        """Take more bytes of the client; return the bytes that may go to the pod, none after something was `refused`.

        Does at most this many `steps`; while there is `more` to do, feed b"".
        """
        if not self._kept:
            if self._state is _RequestState.OPAQUE:
                return data
            if self._state is _RequestState.BODY and len(data) < self._left:
                self._left -= len(data)
                return data
        self._kept += data
        self.more = False
        try:
            self._parse(steps)
            if not self.more and len(self._kept) - self._at > MAX_HEAD and self._state is not _RequestState.OPAQUE:
                raise RequestError(431, f"the request's head is longer than {MAX_HEAD >> 10} KiB")
        except RequestError as error:
            self.refused = error
        passed, self._kept, self._at = self._kept[: self._at], self._kept[self._at :], 0
        return passed

    def _parse(self, steps: float) -> None:
        while self._at < len(self._kept) and not self.refused:
            if steps <= 0:
                self.more = True
                return
            steps -= _HEAD_STEPS if self._state is _RequestState.HEAD else 1
            if not _STEPS[self._state](self):
                return

    def upgraded(self, *, agreed: bool, steps: float = math.inf) -> bytes:
        """Note the pod's answer to the upgrade; return the kept bytes that may go to the pod now."""
        self._state = _RequestState.OPAQUE if agreed else _RequestState.HEAD
        return self.feed(b"", steps)

    # Each step returns whether it moved `_at` or the state; False: it needs more bytes.

    def _head(self) -> bool:
        if self._kept.startswith(_CRLF, self._at) and self._empty_lines < MAX_EMPTY_LINES:
            self._empty_lines += 1
            if self.first is None:
                self._kept = self._kept[len(_CRLF) :]
            else:
                self._at += len(_CRLF)
            return True
        if self._kept[self._at :] == b"\r":
            return False
        end = self._kept.find(END, self._at)
        if end < 0:
            if not looks_like_http(self._kept[self._at :]):
                raise NotHttpError
            return False
        end += len(END)
        if end - self._at > MAX_HEAD:
            raise RequestError(431, f"the request's head is longer than {MAX_HEAD >> 10} KiB")
        request = parse_head(self._kept[self._at : end])
        if self.first is not None and request.host != self.first.host:
            raise RequestError(421, "each Host needs a connection of its own")
        self._begin(request)
        self.first = self.first or request
        self._empty_lines = 0
        self._at = end
        return True

    def _begin(self, request: RequestHead) -> None:
        """Chooses the state after a head. Only a first request may upgrade, so the pod's first answer is to it."""
        self._left = request.length or 0
        if request.length is None:
            self._state = _RequestState.CHUNK_SIZE
        elif self._left:
            self._state = _RequestState.BODY
        elif request.upgrade and self.first is None:
            self._state = _RequestState.UPGRADING
        else:
            self._state = _RequestState.HEAD

    def _counted(self, after: _RequestState) -> bool:
        size = min(self._left, len(self._kept) - self._at)
        self._at += size
        self._left -= size
        if not self._left:
            self._state = after
        return True

    def _chunk_size(self) -> bool:
        match = _CHUNK.match(self._kept, self._at)
        if match is None:
            if self._kept.find(b"\n", self._at) >= 0 or len(self._kept) - self._at > MAX_CHUNK_LINE:
                raise RequestError(400, "the request's body is not chunked correctly")
            return False
        self._left = int(match[1], 16)
        self._state = _RequestState.CHUNK_DATA if self._left else _RequestState.TRAILERS
        self._at = match.end()
        return True

    def _chunk_end(self) -> bool:
        end = self._kept[self._at : self._at + len(_CRLF)]
        if not _CRLF.startswith(end):
            raise RequestError(400, "a chunk of the request's body does not have its stated length")
        if len(end) < len(_CRLF):
            return False
        self._state = _RequestState.CHUNK_SIZE
        self._at += len(_CRLF)
        return True

    def _trailers(self) -> bool:
        """Consumes one trailer line; refuses lines that another parser might end elsewhere."""
        end = self._kept.find(b"\n", self._at) + 1
        if not end:
            return False
        line = self._kept[self._at : end]
        if line == _CRLF:
            self._state = _RequestState.HEAD
        elif not _TRAILER.fullmatch(line):
            raise RequestError(400, "the request's trailers cannot be read")
        elif (name := line.partition(b":")[0].lower()) in _NO_TRAILERS:
            raise RequestError(400, f"{name.decode('ascii')} is not allowed in the request's trailers")
        self._at = end
        return True

    def _all(self) -> bool:
        self._at = len(self._kept)
        return True


_STEPS: dict[_RequestState, Callable[[Requests], bool]] = {
    _RequestState.HEAD: Requests._head,
    _RequestState.BODY: lambda requests: requests._counted(_RequestState.HEAD),
    _RequestState.CHUNK_SIZE: Requests._chunk_size,
    _RequestState.CHUNK_DATA: lambda requests: requests._counted(_RequestState.CHUNK_END),
    _RequestState.CHUNK_END: Requests._chunk_end,
    _RequestState.TRAILERS: Requests._trailers,
    _RequestState.UPGRADING: lambda _: False,
    _RequestState.OPAQUE: Requests._all,
}


class UpgradeAnswer:
    """Reads the start of a pod's answer, until it shows whether the pod has accepted the upgrade."""

    def __init__(self) -> None:
        self._kept = b""
        self._interim = 0

    def feed(self, data: bytes) -> bool | None:
        """Return whether the pod accepted; None while this is not known. An answer that is not HTTP/1 counts as no."""
        self._kept += data
        while len(self._kept) >= _STATUS_LINE:
            status = _STATUS.match(self._kept)
            if status is None or status[1] == b"101" or status[1] >= b"200":
                return status is not None and status[1] == b"101"
            head, end, rest = self._kept.partition(END)  # 100, 103: the final answer follows
            if not end:
                return False if len(head) > MAX_HEAD else None
            self._kept = rest
            self._interim += 1
            if self._interim > MAX_INTERIM:
                return False
        return None


# No server sends more interim answers (100, 103); each costs a copy of the kept bytes.
MAX_INTERIM = 16
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
# The bytes of "HTTP/1.1 101 ".
_STATUS_LINE = 13
