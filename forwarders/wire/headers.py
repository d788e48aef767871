"""Compresses and decompresses SPDY header blocks, with one zlib context per direction.

Every block of a connection must pass through here in wire order, also the blocks of closed streams, since they share
the zlib context (SPDY draft 3.1, section 2.6.10).
"""

from __future__ import annotations

import functools
import itertools
import struct
import zlib

from forwarders.errors import RemoteProtocolError

Headers = tuple[tuple[str, str], ...]

# Port forwarding sends three short pairs. A block of at most 64 KiB that becomes larger is a decompression bomb.
MAX_BLOCK = 64 * 1024
MAX_PAIRS = 256
# Bytes that a stored block of deflate has at most (RFC 1951, 3.2.4). Go's reader waits for an empty one behind them.
MAX_STORED = 2**16 - 1
_EMPTY = b"\0\0\0\xff\xff"

# The header dictionary (draft 3, section 2.6.10.1): words with their length before them, four bytes big-endian, and
# then the rest as it is. 1,423 bytes with adler32 0xe3c6a7c2, as a test checks.
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200|OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _with_length(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


DICTIONARY = b"".join(_with_length(word.replace("|", " ").encode()) for word in _WORDS.split()) + _TAIL.encode()


@functools.lru_cache(maxsize=64)
def _pair(name: str, value: str) -> bytes:
    return _with_length(name.lower().encode()) + _with_length(value.encode())


class HeaderCompressor:
    """The zlib stream of the blocks that we send. It only stores them: to compress 100 bytes takes longer."""

    def __init__(self) -> None:
        self._head = b"\x78\x01"  # RFC 1950: deflate, no dictionary

    def compress(self, headers: Headers) -> bytes:
        plain = b"".join((len(headers).to_bytes(4, "big"), *itertools.starmap(_pair, headers)))
        block, self._head = self._head, b""
        for start in range(0, len(plain), MAX_STORED):
            part = plain[start : start + MAX_STORED]
            block += b"\0" + struct.pack("<HH", len(part), MAX_STORED - len(part)) + part
        return block + _EMPTY


class HeaderDecompressor:
    """The zlib context of the peer's blocks. Raises RemoteProtocolError for anything that is not a header block."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)

    def decompress(self, block: bytes) -> Headers:
        try:
            plain = self._zlib.decompress(block, MAX_BLOCK)
        except zlib.error as error:
            raise RemoteProtocolError(f"a header block is not zlib: {error}") from error
        if self._zlib.unconsumed_tail or self._zlib.eof:
            raise RemoteProtocolError(f"a header block larger than {MAX_BLOCK} bytes, or an ended zlib stream")
        return _parse(plain)


def _parse(plain: bytes) -> Headers:
    count, position = _number(plain, 0)
    if count > MAX_PAIRS:
        raise RemoteProtocolError(f"a header block of {count} pairs; at most {MAX_PAIRS} are allowed")
    texts: list[str] = []
    for _ in range(2 * count):
        length, position = _number(plain, position)
        text = plain[position : position + length]
        if len(text) < length:
            raise RemoteProtocolError("a header block ends in the middle of a pair")
        texts.append(text.decode("utf-8", "replace"))
        position += length
    if position != len(plain):
        raise RemoteProtocolError("bytes follow the pairs of a header block")
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def _number(plain: bytes, position: int) -> tuple[int, int]:
    if position + 4 > len(plain):
        raise RemoteProtocolError("a header block ends in the middle of a length")
    return int.from_bytes(plain[position : position + 4], "big"), position + 4
