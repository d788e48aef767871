"""Owns following the requests on one connection: which bytes belong to which, so that none goes to a wrong pod.

Refuses IO, and to change a byte. Every request's head is read before any byte of it is let through, and its Host has to
be that of the first; bodies are counted through. Only a WebSocket that the pod has agreed to (101) is not looked into.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from forwarders.gateway.errors import RequestError
from forwarders.gateway.head import END, MAX_HEAD, Request, looks_like_http, parse

# RFC 9112, 7.1: a size in hexadecimal, perhaps extensions. 16 digits are more than any body.
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(;[^\r\n\0]*)?\r\n")
MAX_CHUNK_LINE = 4 * 1024
_CRLF = b"\r\n"


class _State(Enum):
    HEAD = auto()
    BODY = auto()
    CHUNK_SIZE = auto()
    CHUNK_DATA = auto()
    CHUNK_END = auto()
    TRAILERS = auto()
    UPGRADING = auto()  # the pod is asked; what comes until it has answered is kept
    OPAQUE = auto()


class Requests:
    """`feed` gives back what may go on to the pod. `first` is the first request, None until its head is whole.

    `refused`: why what comes now goes nowhere.
    """

    def __init__(self) -> None:
        self.first: Request | None = None
        self.refused: RequestError | None = None
        self._state = _State.HEAD
        self._kept = b""
        self._left = 0

    @property
    def undecided(self) -> bool:
        """A WebSocket has been asked for, and the pod has not answered: nothing goes on until `upgraded`."""
        return self._state is _State.UPGRADING

    @property
    def kept(self) -> int:
        """Bytes that wait for the rest of a head, or for the pod's answer."""
        return len(self._kept)

    def feed(self, data: bytes) -> bytes:
        """What goes on; nothing more does once something is `refused`."""
        if self._state is _State.OPAQUE or (self._state is _State.BODY and len(data) < self._left):
            self._left -= len(data)
            return data
        self._kept += data
        passed: list[bytes] = []
        try:
            while self._kept and not self.refused and (piece := _STEPS[self._state](self)):
                passed.append(piece)
            if len(self._kept) > MAX_HEAD:
                raise RequestError(431, f"the request's head is longer than {MAX_HEAD >> 10} KiB")
        except RequestError as error:
            self.refused = error
        return b"".join(passed)

    def upgraded(self, *, agreed: bool) -> bytes:
        """The pod has answered; what was kept until then and goes on now."""
        self._state = _State.OPAQUE if agreed else _State.HEAD
        kept, self._kept = self._kept, b""
        return self.feed(kept)

    def _head(self) -> bytes:
        end = self._kept.find(END)
        if end < 0:
            if not looks_like_http(self._kept):
                parse(self._kept)
            return b""
        size = end + len(END)
        if size > MAX_HEAD:
            raise RequestError(431, f"the request's head is longer than {MAX_HEAD >> 10} KiB")
        request = parse(self._kept[:size])
        if self.first is not None and request.host != self.first.host:
            raise RequestError(421, "another Host on a connection is another connection")
        self._begin(request)
        self.first = self.first or request
        return self._take(size)

    def _begin(self, request: Request) -> None:
        """A WebSocket begins on a connection of its own, so that the pod's first answer is the one to it."""
        self._left = request.length or 0
        if request.length is None:
            self._state = _State.CHUNK_SIZE
        elif self._left:
            self._state = _State.BODY
        elif request.upgrade and self.first is None:
            self._state = _State.UPGRADING
        else:
            self._state = _State.HEAD

    def _take(self, size: int) -> bytes:
        piece, self._kept = self._kept[:size], self._kept[size:]
        return piece

    def _counted(self, after: _State) -> bytes:
        piece = self._take(self._left)
        self._left -= len(piece)
        if not self._left:
            self._state = after
        return piece

    def _body(self) -> bytes:
        return self._counted(_State.HEAD)

    def _chunk_size(self) -> bytes:
        match = _CHUNK.match(self._kept)
        if match is None:
            if b"\n" in self._kept or len(self._kept) > MAX_CHUNK_LINE:
                raise RequestError(400, "the request's body is not chunked as it says")
            return b""
        self._left = int(match[1], 16)
        self._state = _State.CHUNK_DATA if self._left else _State.TRAILERS
        return self._take(match.end())

    def _chunk_data(self) -> bytes:
        return self._counted(_State.CHUNK_END)

    def _chunk_end(self) -> bytes:
        if not _CRLF.startswith(self._kept[:2]):
            raise RequestError(400, "a chunk of the request's body is not as long as it says")
        if len(self._kept) < len(_CRLF):
            return b""
        self._state = _State.CHUNK_SIZE
        return self._take(len(_CRLF))

    def _trailers(self) -> bytes:
        """Lines until an empty one; refused where another parser might see their end elsewhere."""
        if self._kept.startswith(_CRLF):
            self._state = _State.HEAD
            return self._take(len(_CRLF))
        end = self._kept.find(b"\n")
        if end < 0:
            return b""
        line = self._kept[: end + 1]
        if not re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n", line):
            raise RequestError(400, "the request's trailers cannot be read")
        return self._take(len(line))

    def _nothing(self) -> bytes:
        return b""


_STEPS = {
    _State.HEAD: Requests._head,
    _State.BODY: Requests._body,
    _State.CHUNK_SIZE: Requests._chunk_size,
    _State.CHUNK_DATA: Requests._chunk_data,
    _State.CHUNK_END: Requests._chunk_end,
    _State.TRAILERS: Requests._trailers,
    _State.UPGRADING: Requests._nothing,
    _State.OPAQUE: Requests._nothing,
}


class Answer:
    """The beginning of what a pod sends, until it is known whether it has agreed to a WebSocket."""

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, data: bytes) -> bool | None:
        """Whether it agreed; None until that is known. Raises RequestError for an answer that is none."""
        self._kept += data
        while END in self._kept or len(self._kept) >= _STATUS_LINE:
            status = re.match(rb"HTTP/1\.[01] (\d{3})[ \r]", self._kept)
            if status is None:
                raise RequestError(502, "the pod's answer is no HTTP/1")
            code = int(status[1])
            if code == 101 or code >= 200:
                return code == 101
            head, end, rest = self._kept.partition(END)  # 100, 103: the answer itself is still to come
            if not end:
                if len(head) > MAX_HEAD:
                    raise RequestError(502, "the pod's answer has no end of its head")
                return None
            self._kept = rest
        return None


# "HTTP/1.1 101 " tells.
_STATUS_LINE = 13
