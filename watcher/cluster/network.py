"""Reads the bodies of the API server's responses within bounds, and explains why a connection failed.

A body has at most one content coding: undoing any number would make gigabytes of 3 kB of `gzip, gzip`.
"""

from __future__ import annotations

import socket
import ssl
import zlib
from collections.abc import Iterator

import trio

from forwarders.system.tcp import error_text
from watcher.errors import MalformedError
from watcher.http_client import StreamedResponse

# Bytes of a list, over all its pages, and of any other body: 40,000 pods of 6 kB.
MAX_BODY = 256 * 1024 * 1024
# Bytes of one piece: unpacked in some 0.1 ms.
PIECE = 64 * 1024
# Characters of a header quoted in an error.
LONGEST_NAME = 100
# zlib's window for gzip, header and trailer checked.
_GZIP = 16 + zlib.MAX_WBITS


class UnpackedBody:
    """The body of a response, unpacked. Raises MalformedError for a coding that was not requested."""

    def __init__(self, response: StreamedResponse) -> None:
        codings = [coding.strip().lower() for coding in response.headers.get("content-encoding", "").split(",")]
        known = [coding for coding in codings if coding not in {"", "identity"}]
        if known and known not in (["gzip"], ["x-gzip"]):
            named = ", ".join(known)[:LONGEST_NAME]
            raise MalformedError(f"the API server's answer has the content coding {named}: only gzip was asked for")
        self._response = response
        self._gzip = zlib.decompressobj(_GZIP) if known else None
        self._packed = b""

    async def receive(self) -> bytes:
        """The next bytes, b"" at the end. Raises MalformedError, HttpError."""
        if self._gzip is None:
            return await self._response.receive()
        try:
            while True:
                piece = self._gzip.decompress(self._packed, PIECE)
                self._packed = self._gzip.unconsumed_tail
                if piece:
                    await trio.lowlevel.checkpoint()
                    return piece
                if self._gzip.eof:
                    break
                if not self._packed and not await self._has_more():
                    raise MalformedError("the API server's answer ends in the middle of its compressed data")
        except zlib.error as error:
            raise MalformedError(f"the API server's answer cannot be unpacked: {error}") from None
        while await self._has_more():
            pass
        return b""

    async def read(self, room: int) -> bytes:
        """All bytes. Raises MalformedError for more than `room`."""
        parts: list[bytes] = []
        size = 0
        while piece := await self.receive():
            parts.append(piece)
            size += len(piece)
            if size > room:
                raise MalformedError(f"the API server's answer is longer than {MAX_BODY >> 20} MiB")
        return b"".join(parts)

    async def _has_more(self) -> bool:
        self._packed = await self._response.receive()
        return bool(self._packed)


def why(error: BaseException) -> str:
    """Why a connection failed, in a few words, without headers or bodies of the request."""
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message}): see certificate-authority"
    if any(isinstance(cause, trio.TooSlowError) for cause in chain):
        return "no answer in time"
    for cause in chain:
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed ({(cause.reason or 'no reason').lower().replace('_', ' ')})"
        if isinstance(cause, socket.gaierror):
            again = cause.errno == socket.EAI_AGAIN
            return "its name was not resolved: no answer from DNS" if again else "its name is not known"
        if isinstance(cause, OSError) and cause.errno:
            return error_text(cause.errno)  # trio's text repeats the address
    return str(error) or type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and its causes, breadth first. trio groups the failures of several addresses."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [*getattr(cause, "exceptions", ()), cause.__cause__, cause.__context__]
