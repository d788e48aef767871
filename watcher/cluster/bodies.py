"""Reads response bodies in bounded pieces: at most one content coding, unpacked no further than it is read.

httpx would undo any number of codings at once: 3 kB of `gzip, gzip` become gigabytes in one step.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterator

import httpx
import trio

from watcher.errors import MalformedError

# Bytes of a whole list, over all its pages, and of any other answer: 40,000 pods of 6 kB.
MAX_BODY = 256 * 1024 * 1024
# Bytes of one piece: some 0.1 ms to unpack.
PIECE = 64 * 1024
# Characters of a header that are quoted in an error.
LONGEST_NAME = 100
# zlib's window for gzip, header and trailer checked.
_GZIP = 16 + zlib.MAX_WBITS


def unpacked(response: httpx.Response, raw: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The body, from its `raw` bytes. Raises MalformedError for a coding that was not asked for."""
    codings = [coding.strip().lower() for coding in response.headers.get("Content-Encoding", "").split(",")]
    known = [coding for coding in codings if coding not in {"", "identity"}]
    if known in (["gzip"], ["x-gzip"]):
        return _gunzipped(raw)
    if known:
        named = ", ".join(known)[:LONGEST_NAME]
        raise MalformedError(f"the API server's answer has the content coding {named}: only gzip was asked for")
    return raw


async def _gunzipped(raw: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    decoder = zlib.decompressobj(_GZIP)
    try:
        async for data in raw:
            left = data
            while left and not decoder.eof:
                piece = decoder.decompress(left, PIECE)
                left = decoder.unconsumed_tail
                if piece:
                    yield piece
                    await trio.lowlevel.checkpoint()
            while not decoder.eof and (piece := decoder.decompress(b"", PIECE)):
                yield piece
                await trio.lowlevel.checkpoint()
    except zlib.error as error:
        raise MalformedError(f"the API server's answer cannot be unpacked: {error}") from None
    if not decoder.eof:
        raise MalformedError("the API server's answer ends in the middle of its compressed data")


async def read_body(pieces: AsyncIterator[bytes], room: int) -> bytes:
    """The whole body. Raises MalformedError for more than `room` bytes."""
    parts: list[bytes] = []
    size = 0
    async for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size > room:
            raise MalformedError(f"the API server's answer is longer than {MAX_BODY >> 20} MiB")
    return b"".join(parts)


async def drain(pieces: AsyncIterator[bytes]) -> None:
    """Reads to the end and throws away."""
    try:
        async for _ in pieces:
            pass
    except httpx.HTTPError:
        return  # it is being thrown away; what broke it has been said
