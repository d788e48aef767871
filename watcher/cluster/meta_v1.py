"""Decodes the API's JSON envelopes: pages of a list, lines of a watch, Status. No IO.

Shapes: k8s.io/apimachinery/pkg/apis/meta/v1/types.go (ListMeta, WatchEvent, Status). The body of a watch has one
WatchEvent a line.
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

# etcd rejects requests over 1.5 MiB; the same object as JSON may be somewhat larger.
MAX_LINE = 4 * 1024 * 1024


class WatchEventType(Enum):
    """The type of a watch event. A BOOKMARK has only the resourceVersion that the watch has reached."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


class WatchEvent(Struct, frozen=True):
    """One line of a watch."""

    change: WatchEventType
    object: Resource


class ListMeta(Struct, frozen=True, rename="camel"):
    """The metadata of a list. `continue_`: the token of the next page, "" on the last."""

    resource_version: str = ""
    continue_: str = field(default="", name="continue")


class Page(Struct, frozen=True):
    """One page of a list. Its objects are decoded one by one, by their kind."""

    metadata: ListMeta
    items: tuple[Raw, ...] | None = None


class Cause(Struct, frozen=True):
    """One cause in the details of a Status."""

    reason: str = ""
    message: str = ""


class Details(Struct, frozen=True):
    """The details of a Status."""

    causes: tuple[Cause, ...] | None = None


class ApiStatus(Struct, frozen=True):
    """The body of an error response, and the object of an ERROR event."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: Details | None = None


class VersionInfo(Struct, frozen=True, rename="camel"):
    """The answer to GET /version."""

    git_version: str


class RequestInfo(Struct, frozen=True):
    """What a request asks for, in the words of RBAC. `namespace` "": all namespaces, or none applies."""

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
    """Splits the body of a watch into lines."""

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
    """Decodes the body of a watch into events.

    `feed` raises ApiError for an ERROR event and MalformedError for a line that is no event. Events before it in the
    same piece are dropped; the next watch resumes from the last event that was returned, so none is lost.
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
                # A bookmark's object may have null where its kind has a list: only the metadata counts.
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
    """Decodes the body of a response. Raises MalformedError if it is not what `asked` must return."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"cannot {asked}: the response is not from a Kubernetes API server: {error}") from None


def status(body: bytes, code: int) -> ApiStatus:
    """Decodes the Status of an error response. For a proxy's error page only the HTTP status `code` is known."""
    try:
        found = _STATUS.decode(body)
    except (ValueError, RecursionError):
        found = ApiStatus()
    return msgspec.structs.replace(found, code=code, message=found.message or f"HTTP status {code}")


def api_error(status: ApiStatus, asked: RequestInfo) -> ApiError:
    """The exception for a Status that answers `asked`."""
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
    """Whether the requested resourceVersion is newer than the server's: by cause since 1.18.6, by message before."""
    causes = (status.details and status.details.causes) or ()
    texts = [status.message, *(text for cause in causes for text in (cause.reason, cause.message))]
    return any("Too large resource version" in text or text == "ResourceVersionTooLarge" for text in texts)
