"""Owns SPDY header blocks: name/value pairs to compressed bytes and back, one zlib context per direction.

Refuses to skip a block: every block of a connection goes through here in wire order, also those of streams that are
gone, or the shared zlib context is lost (SPDY draft 3.1, section 2.6.10).
"""

from __future__ import annotations

import struct
import zlib

from forwarders.errors import RemoteProtocolError
from forwarders.wire.dictionary import DICTIONARY

Headers = tuple[tuple[str, str], ...]

# Port forwarding sends three short pairs. More than this from a block of at most 64 KiB is a decompression bomb.
MAX_BLOCK = 64 * 1024
MAX_PAIRS = 256
# zlib's defaults would cost every session 256 KB (zconf.h) to look for matches; the dictionary and some blocks before
# are all that there is to find.
WINDOW_BITS = 12


class HeaderCompressor:
    """Our direction's zlib context."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(level=1, wbits=WINDOW_BITS, memLevel=1, zdict=DICTIONARY)

    def compress(self, headers: Headers) -> bytes:
        plain = [struct.pack(">I", len(headers))]
        for name, value in headers:
            for text in (name.lower().encode(), value.encode()):
                plain += (struct.pack(">I", len(text)), text)
        return self._zlib.compress(b"".join(plain)) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


class HeaderDecompressor:
    """The peer's direction's zlib context. Raises RemoteProtocolError for anything that is not a header block."""

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
        raise RemoteProtocolError(f"a header block of {count} pairs; at most {MAX_PAIRS} are taken")
    texts: list[str] = []
    for _ in range(2 * count):
        length, position = _number(plain, position)
        text = plain[position : position + length]
        if len(text) < length:
            raise RemoteProtocolError("a header block ends in the middle of a pair")
        texts.append(text.decode("utf-8", "replace"))
        position += length
    if position != len(plain):
        raise RemoteProtocolError("bytes are left over behind a header block's pairs")
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def _number(plain: bytes, position: int) -> tuple[int, int]:
    if position + 4 > len(plain):
        raise RemoteProtocolError("a header block ends in the middle of a length")
    return int.from_bytes(plain[position : position + 4], "big"), position + 4
