"""Owns a watch's body: bytes in, events out, without IO. Refuses to judge an event.

A watch is one JSON object a line: {"type": ADDED|MODIFIED|DELETED|BOOKMARK|ERROR, "object": …}.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from watcher.cluster.errors import ApiError
from watcher.cluster.objects import Bookmark, Object

# etcd refuses objects over 1.5 MiB; JSON on the wire may be somewhat larger.
MAX_LINE = 4 * 1024 * 1024


class WatchEvent(msgspec.Struct, frozen=True):
    """A change of one object. The object of a BOOKMARK has only a resourceVersion."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Object


class _Line(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Status(Object, frozen=True):
    message: str = ""
    code: int = 0


class WatchDecoder:
    """`feed` raises ApiError: the server's ERROR event (with its code), or a line that is no watch event (code 0)."""

    def __init__(self, kind: type[Object]) -> None:
        self._kind = kind
        self._kept = b""

    def feed(self, data: bytes) -> list[WatchEvent]:
        *lines, kept = (self._kept + data).split(b"\n")
        if len(kept) > MAX_LINE:
            raise ApiError(f"a watch event longer than {MAX_LINE} bytes", 0)
        self._kept = kept
        return [self._event(line) for line in lines if line.strip()]

    def _event(self, line: bytes) -> WatchEvent:
        try:
            event = msgspec.json.decode(line, type=_Line)
            if event.type == "ERROR":
                status = msgspec.json.decode(event.object, type=_Status)
                raise ApiError(status.message or "the watch ended with an error", status.code)
            if event.type not in {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"}:
                raise ApiError("a watch event of an unknown type", 0)
            kind = Bookmark if event.type == "BOOKMARK" else self._kind
            return WatchEvent(event.type, msgspec.json.decode(event.object, type=kind))  # type: ignore[arg-type] # checked above
        except msgspec.DecodeError as error:
            raise ApiError(f"a line of a watch is no event: {error}", 0) from error
