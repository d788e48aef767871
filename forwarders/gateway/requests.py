"""Follows the requests on one connection: which bytes belong to which, so that none goes to a wrong pod.

It does no IO and changes no byte, except that it drops empty lines before the first request: some servers refuse
them. Every request's head is read before any byte of it is let through, and its Host has to be that of the first;
bodies are counted through. Only a protocol that the pod has agreed to (101) is not looked into.
"""

from __future__ import annotations

import math
import re
from enum import Enum, auto

from forwarders.errors import NotHttpError, RequestError
from forwarders.gateway.head import END, MAX_HEAD, Request, looks_like_http, parse

# RFC 9112, 7.1: a size in hexadecimal, perhaps extensions. 16 digits are more than any body.
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(;[^\r\n\0]*)?\r\n")
MAX_CHUNK_LINE = 4 * 1024
# Empty lines before a request line: RFC 9112, 2.2, has servers ignore at least one.
MAX_EMPTY_LINES = 8
# What may stand in trailers is not what says where a message goes or how long it is (RFC 9110, 6.5.1): a pod that takes
# trailers for headers must not be told another Host.
_NO_TRAILERS = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"te", b"trailer"}
)
# Work is counted in steps of some microseconds: a chunk's line or a trailer is one, a head as much as so many.
_HEAD_STEPS = 32
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n")
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
        self._at = 0  # what stands before it in `_kept` may go on
        self._left = 0
        self._empty_lines = 0
        self.more = False

    @property
    def undecided(self) -> bool:
        """A protocol was asked for, and the pod has not answered: nothing goes on until `upgraded`."""
        return self._state is _State.UPGRADING

    def feed(self, data: bytes, steps: float = math.inf) -> bytes:
        """What goes on; nothing more does once something is `refused`.

        Looks at so many `steps` of it; where there is `more` to look at, feed b"" for that.
        """
        if not self._kept:
            if self._state is _State.OPAQUE:
                return data
            if self._state is _State.BODY and len(data) < self._left:
                self._left -= len(data)
                return data
        self._kept += data
        self.more = False
        try:
            self._look(steps)
            if not self.more and len(self._kept) - self._at > MAX_HEAD and self._state is not _State.OPAQUE:
                raise RequestError(431, f"the request's head is longer than {MAX_HEAD >> 10} KiB")
        except RequestError as error:
            self.refused = error
        passed, self._kept, self._at = self._kept[: self._at], self._kept[self._at :], 0
        return passed

    def _look(self, steps: float) -> None:
        while self._at < len(self._kept) and not self.refused:
            if steps <= 0:
                self.more = True
                return
            steps -= _HEAD_STEPS if self._state is _State.HEAD else 1
            if not _STEPS[self._state](self):
                return

    def upgraded(self, *, agreed: bool, steps: float = math.inf) -> bytes:
        """The pod has answered; what was kept until then and goes on now."""
        self._state = _State.OPAQUE if agreed else _State.HEAD
        return self.feed(b"", steps)

    # Each step moves `_at` and says whether it did; where it did not, more has to come.

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
        request = parse(self._kept[self._at : end])
        if self.first is not None and request.host != self.first.host:
            raise RequestError(421, "another Host on a connection is another connection")
        self._begin(request)
        self.first = self.first or request
        self._empty_lines = 0
        self._at = end
        return True

    def _begin(self, request: Request) -> None:
        """Another protocol begins on a connection of its own, so that the pod's first answer is the one to it."""
        self._left = request.length or 0
        if request.length is None:
            self._state = _State.CHUNK_SIZE
        elif self._left:
            self._state = _State.BODY
        elif request.upgrade and self.first is None:
            self._state = _State.UPGRADING
        else:
            self._state = _State.HEAD

    def _counted(self, after: _State) -> bool:
        size = min(self._left, len(self._kept) - self._at)
        self._at += size
        self._left -= size
        if not self._left:
            self._state = after
        return True

    def _body(self) -> bool:
        return self._counted(_State.HEAD)

    def _chunk_size(self) -> bool:
        match = _CHUNK.match(self._kept, self._at)
        if match is None:
            if self._kept.find(b"\n", self._at) >= 0 or len(self._kept) - self._at > MAX_CHUNK_LINE:
                raise RequestError(400, "the request's body is not chunked as it says")
            return False
        self._left = int(match[1], 16)
        self._state = _State.CHUNK_DATA if self._left else _State.TRAILERS
        self._at = match.end()
        return True

    def _chunk_data(self) -> bool:
        return self._counted(_State.CHUNK_END)

    def _chunk_end(self) -> bool:
        end = self._kept[self._at : self._at + len(_CRLF)]
        if not _CRLF.startswith(end):
            raise RequestError(400, "a chunk of the request's body is not as long as it says")
        if len(end) < len(_CRLF):
            return False
        self._state = _State.CHUNK_SIZE
        self._at += len(_CRLF)
        return True

    def _trailers(self) -> bool:
        """Lines until an empty one; refused where another parser might see their end elsewhere."""
        end = self._kept.find(b"\n", self._at) + 1
        if not end:
            return False
        line = self._kept[self._at : end]
        if line == _CRLF:
            self._state = _State.HEAD
        elif not _TRAILER.fullmatch(line):
            raise RequestError(400, "the request's trailers cannot be read")
        elif (name := line.partition(b":")[0].lower()) in _NO_TRAILERS:
            raise RequestError(400, f"{name.decode('ascii')} stands in the request's trailers, where it means nothing")
        self._at = end
        return True

    def _nothing(self) -> bool:
        return False

    def _all(self) -> bool:
        self._at = len(self._kept)
        return True


_STEPS = {
    _State.HEAD: Requests._head,
    _State.BODY: Requests._body,
    _State.CHUNK_SIZE: Requests._chunk_size,
    _State.CHUNK_DATA: Requests._chunk_data,
    _State.CHUNK_END: Requests._chunk_end,
    _State.TRAILERS: Requests._trailers,
    _State.UPGRADING: Requests._nothing,
    _State.OPAQUE: Requests._all,
}


class Answer:
    """The beginning of what a pod sends, until it is known whether it has agreed to another protocol."""

    def __init__(self) -> None:
        self._kept = b""
        self._interim = 0

    def feed(self, data: bytes) -> bool | None:
        """Whether it agreed; None until that is known. What is no answer of HTTP/1 agrees to nothing."""
        self._kept += data
        while len(self._kept) >= _STATUS_LINE:
            status = _STATUS.match(self._kept)
            if status is None or status[1] == b"101" or status[1] >= b"200":
                return status is not None and status[1] == b"101"
            head, end, rest = self._kept.partition(END)  # 100, 103: the answer itself is still to come
            if not end:
                return False if len(head) > MAX_HEAD else None
            self._kept = rest
            self._interim += 1
            if self._interim > MAX_INTERIM:
                return False
        return None


# Nobody says 100 or 103 more often; each costs a copy of what came.
MAX_INTERIM = 16
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
# "HTTP/1.1 101 " tells.
_STATUS_LINE = 13
