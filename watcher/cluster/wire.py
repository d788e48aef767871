"""Owns the API's envelopes as JSON: pages of a list, lines of a watch, Status. Bytes in, values out, no IO.

Refuses to know what the objects are for. Shapes: k8s.io/apimachinery/pkg/apis/meta/v1/types.go (ListMeta, WatchEvent,
Status); a watch's body is one WatchEvent a line.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct, field

from watcher.cluster.kinds import Kind, Resource
from watcher.errors import (
    ApiError,
    ApiForbiddenError,
    ExpiredError,
    MalformedError,
    NotFoundError,
    UnauthorizedError,
)

T = TypeVar("T")

# etcd refuses requests over 1.5 MiB, so no object is larger there; as JSON it may be somewhat more.
MAX_LINE = 4 * 1024 * 1024


class WatchEventType(Enum):
    """What a watch says of an object. BOOKMARK: nothing but the resourceVersion that was reached."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


class WatchEvent(Struct, frozen=True):
    """One line of a watch. The object of a BOOKMARK has a resourceVersion and nothing else."""

    change: WatchEventType
    object: Resource


class ListMeta(Struct, frozen=True, rename="camel"):
    """`continue_` is the token of the next page, "" on the last."""

    resource_version: str = ""
    continue_: str = field(default="", name="continue")


class Page(Struct, frozen=True):
    """One page of a list; its objects are decoded one by one, by their kind."""

    metadata: ListMeta
    items: tuple[Raw, ...] | None = None


class Cause(Struct, frozen=True):
    """One of a Status' causes."""

    reason: str = ""
    message: str = ""


class Details(Struct, frozen=True):
    """A Status' details."""

    causes: tuple[Cause, ...] | None = None


class ApiStatus(Struct, frozen=True):
    """The API's error body, and the object of an ERROR event."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: Details | None = None


class VersionInfo(Struct, frozen=True, rename="camel"):
    """The answer to GET /version."""

    git_version: str


class RequestInfo(Struct, frozen=True):
    """What a request was for, in the words of RBAC. `namespace` is "" for all of them or none."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        what = f"{self.verb} {self.resource}" + (f" {self.name}" if self.name else "")
        return what + (f" in namespace {self.namespace}" if self.namespace else "")


class _WatchLine(Struct, frozen=True):
    type: str
    object: Raw


class LineDecoder:
    """A watch's body: pieces in, whole lines out."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without empty ones. Raises MalformedError for one over MAX_LINE bytes."""
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._kept, lines[0]))
            self._kept, self._length = [], 0
        if rest:
            self._kept.append(rest)
            self._length += len(rest)
        if self._length > MAX_LINE or any(len(line) > MAX_LINE for line in lines):
            raise MalformedError(f"the API server sent a watch event longer than {MAX_LINE >> 20} MiB")
        return [line for line in lines if line.strip()]


class WatchDecoder:
    """A watch's body: pieces in, events out.

    `feed` raises ApiError for the server's ERROR event and MalformedError for a line that is no event. The events
    before it in the same piece are dropped with it: whoever watches again from the last event it got misses nothing.
    """

    def __init__(self, kind: Kind) -> None:
        self._lines = LineDecoder()
        self._decoder: msgspec.json.Decoder[Resource] = msgspec.json.Decoder(kind.decodes_to)
        self._asked = RequestInfo("watch", kind.plural)

    def feed(self, data: bytes) -> list[WatchEvent]:
        return [self._event(line) for line in self._lines.feed(data)]

    def _event(self, line: bytes) -> WatchEvent:
        try:
            envelope = _LINE.decode(line)
            if envelope.type != "ERROR":
                change = WatchEventType(envelope.type)
                # A bookmark's object has null where its kind demands a list: only the metadata is meant.
                decoder = _BOOKMARK if change is WatchEventType.BOOKMARK else self._decoder
                return WatchEvent(change, decoder.decode(envelope.object))
            problem = _STATUS.decode(envelope.object)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors; they quote no content
            raise MalformedError(f"the API server sent a watch event that cannot be read: {error}") from None
        raise api_error(problem, self._asked)


_LINE = msgspec.json.Decoder(_WatchLine)
_BOOKMARK = msgspec.json.Decoder(Resource)
_STATUS = msgspec.json.Decoder(ApiStatus)


def decode(body: bytes | Raw, kind: type[T], asked: RequestInfo) -> T:
    """Raises MalformedError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"cannot {asked}: what answers is no Kubernetes API server: {error}") from None


def status(body: bytes, code: int) -> ApiStatus:
    """The Status of an error answer; a proxy's error page has none, only its HTTP status `code`."""
    try:
        found = _STATUS.decode(body)
    except (ValueError, RecursionError):
        found = ApiStatus()
    return msgspec.structs.replace(found, code=code, message=found.message or f"HTTP status {code}")


def api_error(status: ApiStatus, asked: RequestInfo) -> ApiError:
    """The error that a Status is."""
    message = f"cannot {asked}: {status.message or 'error without a message'}"
    match status.code:
        case 401:
            return UnauthorizedError(f"{message} (401): the credentials are not accepted; log in again", 401)
        case 403:
            return ApiForbiddenError(f"{message} (403)", asked.verb, asked.resource, asked.namespace)
        case 404:
            return NotFoundError(f"{message} (404)", 404)
        case 410:
            return ExpiredError(message, 410)
        case 504 if _too_large_resource_version(status):
            return ExpiredError(message, 504)
    return ApiError(f"{message} ({status.code})", status.code)


def _too_large_resource_version(status: ApiStatus) -> bool:
    """As client-go's isTooLargeResourceVersionError: by cause since 1.18.6, by message before."""
    causes = (status.details and status.details.causes) or ()
    marks = [status.message, *(cause.message for cause in causes)]
    return any(cause.reason == "ResourceVersionTooLarge" for cause in causes) or any(
        "Too large resource version" in mark for mark in marks
    )
