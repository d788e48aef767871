"""Header blocks: the dictionary's identity, roundtrips in one context, and malformed blocks by their names."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarders.errors import RemoteProtocolError
from forwarders.wire.headers import DICTIONARY, MAX_PAIRS, HeaderCompressor, HeaderDecompressor, Headers

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)
blocks = st.lists(st.tuples(texts.map(str.lower).filter(lambda t: t == t.lower()), texts), max_size=5).map(tuple)


def compressed(plain: bytes, *, dictionary: bytes | None = DICTIONARY) -> bytes:
    squeeze = zlib.compressobj() if dictionary is None else zlib.compressobj(zdict=dictionary)
    return squeeze.compress(plain) + squeeze.flush(zlib.Z_SYNC_FLUSH)


def test_the_dictionary_is_the_drafts() -> None:
    """SPDY draft 3's dictionary has 1,423 bytes with adler32 0xe3c6a7c2."""
    assert len(DICTIONARY) == 1423
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


@given(st.lists(blocks, max_size=5))
def test_blocks_in_order_come_back(sent: list[Headers]) -> None:
    """Every block of one direction decompresses to its headers, in one shared context."""
    compressor, decompressor = HeaderCompressor(), HeaderDecompressor()
    assert [decompressor.decompress(compressor.compress(headers)) for headers in sent] == sent


def test_a_block_of_thousands_of_bytes_comes_back() -> None:
    """As a long error text makes one."""
    headers: Headers = (("status", "500"), ("error", "no route to host; " * 300))
    assert HeaderDecompressor().decompress(HeaderCompressor().compress(headers)) == headers


def test_names_are_sent_in_lower_case() -> None:
    """SPDY draft 3.1, section 2.6.10: header names are lower case on the wire."""
    assert HeaderDecompressor().decompress(HeaderCompressor().compress((("StreamType", "Data"),))) == (
        ("streamtype", "Data"),
    )


def test_a_block_left_out_ruins_the_context() -> None:
    """The reason why every block is decompressed: one that was skipped makes the next unreadable."""
    compressor, decompressor = HeaderCompressor(), HeaderDecompressor()
    compressor.compress((("requestid", "some text that the next block refers to"),))
    second = compressor.compress((("requestid", "some text that the next block refers to"),))
    with pytest.raises(RemoteProtocolError):
        decompressor.decompress(second)


def number(value: int) -> bytes:
    return struct.pack(">I", value)


ended = zlib.compressobj(zdict=DICTIONARY)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        pytest.param(b"not zlib at all", "not zlib", id="bad zlib"),
        pytest.param(compressed(number(0), dictionary=b"another dictionary"), "not zlib", id="another dictionary"),
        pytest.param(b"", "middle of a length", id="empty block"),
        pytest.param(compressed(b"\0\0"), "middle of a length", id="truncated count"),
        pytest.param(compressed(number(1)), "middle of a length", id="missing pair"),
        pytest.param(compressed(number(1) + number(1) + b"a"), "middle of a length", id="name without value"),
        pytest.param(compressed(number(1) + number(9) + b"abc"), "middle of a pair", id="truncated name"),
        pytest.param(compressed(number(1) + number(2**32 - 1) + b"abc"), "middle of a pair", id="huge length"),
        pytest.param(compressed(number(0) + b"x"), "follow the pairs", id="bytes left over"),
        pytest.param(compressed(number(MAX_PAIRS + 1)), "257 pairs", id="too many pairs"),
        pytest.param(compressed(number(2**32 - 1)), "4294967295 pairs", id="absurd count"),
        pytest.param(compressed(bytes(10_000_000)), "larger than 65536", id="decompression bomb"),
        pytest.param(ended.compress(number(0)) + ended.flush(), "ended zlib stream", id="ended zlib stream"),
    ],
)
def test_malformed(block: bytes, says: str) -> None:
    """Each malformed block is refused by one clear line."""
    with pytest.raises(RemoteProtocolError, match=says):
        HeaderDecompressor().decompress(block)


@given(st.binary(max_size=200))
def test_random_blocks_are_refused_by_name_only(block: bytes) -> None:
    """Bytes of any kind, and compressed bytes of any kind, parse or raise RemoteProtocolError."""
    for candidate in (block, compressed(block)):
        try:
            HeaderDecompressor().decompress(candidate)
        except RemoteProtocolError:
            continue


def test_bytes_that_are_not_utf8_do_no_harm() -> None:
    """A value in another encoding is read with replacement characters: it may name a proxy, never a stream."""
    plain = number(1) + number(1) + b"a" + number(1) + b"\xff"
    assert HeaderDecompressor().decompress(compressed(plain)) == (("a", "�"),)
