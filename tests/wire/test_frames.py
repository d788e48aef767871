"""Frames: each kind there and back however it is cut, and every malformed case by its name."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarders.errors import LocalProtocolError, RemoteProtocolError
from forwarders.wire import frames
from tests.wire.feeding import assert_same_however_cut, cut, feed_in, joined

ids = st.integers(1, frames.MAX_STREAM_ID)
words = st.integers(0, 2**32 - 1)
blocks = st.binary(max_size=60)
controls = st.one_of(
    st.builds(frames.SynStream, ids, blocks, st.booleans(), st.integers(0, 7)),
    st.builds(frames.SynReply, ids, blocks, st.booleans()),
    st.builds(frames.HeadersFrame, ids, blocks, st.booleans()),
    st.builds(frames.RstStream, ids, words),
    st.builds(frames.Ping, words),
    st.builds(frames.GoAway, st.integers(0, frames.MAX_STREAM_ID), words),
)
data_frames = st.builds(frames.Data, ids, st.binary(max_size=60), st.booleans())


def encoded(frame: frames.Frame) -> bytes:
    if isinstance(frame, frames.Data):
        return frames.data_head(frame.stream_id, len(frame.payload), fin=frame.fin) + bytes(frame.payload)
    return frames.encode(frame)


def control(kind: int, body: bytes, *, version: int = 3, flags: int = 0, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return struct.pack(">HHI", 0x8000 | version, kind, flags << 24 | size) + body


def decoder() -> Callable[[bytes], list[frames.Frame]]:
    return frames.FrameDecoder().feed


def test_the_reasons_of_a_reset_are_the_drafts() -> None:
    """Draft 3.1, section 2.6.3, numbers them; a peer reads nothing else."""
    reasons = (frames.PROTOCOL_ERROR, frames.REFUSED_STREAM, frames.CANCEL)
    sent = [frames.encode(frames.RstStream(9, reason)) for reason in reasons]
    assert [reset.hex(" ", 4) for reset in sent] == [
        f"80030003 00000008 00000009 0000000{number}" for number in (1, 3, 5)
    ]


@pytest.mark.parametrize(
    "frame",
    [
        frames.SynStream(1, b"block", fin=True, priority=7),
        frames.SynStream(frames.MAX_STREAM_ID, b""),
        frames.SynReply(2, b"block", fin=True),
        frames.HeadersFrame(3, b"block"),
        frames.RstStream(4, frames.CANCEL),
        frames.Ping(0xFFFFFFFF),
        frames.GoAway(0, 2),
        frames.Data(5, b"payload", fin=True),
        frames.Data(5, b"", fin=True),
        frames.Data(5, b""),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_there_and_back(frame: frames.Frame) -> None:
    """Every kind of frame is decoded to what was encoded, however its bytes arrive."""
    assert_same_however_cut(decoder, encoded(frame), [frame])


@given(st.lists(controls | data_frames, max_size=6), st.lists(st.integers(0, 10_000), max_size=8))
def test_any_frames_in_any_pieces(sent: list[frames.Frame], places: list[int]) -> None:
    """A row of frames cut at any places decodes to the frames themselves."""
    data = b"".join(encoded(frame) for frame in sent)
    assert feed_in(decoder, cut(data, places)) == feed_in(decoder, [encoded(frame) for frame in sent])
    # Neighbouring payloads cannot be told apart by design; everything else must be what was sent.
    got = frames.FrameDecoder().feed(data)
    assert [f for f in got if not isinstance(f, frames.Data)] == [f for f in sent if not isinstance(f, frames.Data)]


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_random_bytes_are_refused_by_name_only(data: bytes, places: list[int]) -> None:
    """Bytes of any kind decode or raise RemoteProtocolError, nothing else."""
    try:
        feed_in(decoder, cut(data, places))
    except RemoteProtocolError:
        return


@pytest.mark.parametrize("kind", [frames.SETTINGS, frames.WINDOW_UPDATE, 5, 77])
def test_frames_without_effect(kind: int) -> None:
    """SETTINGS, WINDOW_UPDATE and unknown control frames pass by, whole."""
    data = control(kind, bytes(12)) + frames.encode(frames.Ping(1))
    assert_same_however_cut(decoder, data, [frames.Ignored(kind), frames.Ping(1)])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(control(frames.PING, bytes(4), version=2), "version 2", id="another version"),
        pytest.param(control(frames.SYN_STREAM, b"", length=2**24 - 1), "16777215 bytes", id="oversize control frame"),
        pytest.param(control(frames.SYN_STREAM, bytes(9)), "at least 10", id="short SYN_STREAM"),
        pytest.param(control(frames.SYN_REPLY, bytes(3)), "at least 4", id="short SYN_REPLY"),
        pytest.param(control(frames.HEADERS, bytes(2)), "at least 4", id="short HEADERS"),
        pytest.param(control(frames.RST_STREAM, bytes(7)), "at least 8", id="short RST_STREAM"),
        pytest.param(control(frames.PING, bytes(3)), "at least 4", id="short PING"),
        pytest.param(control(frames.GOAWAY, bytes(4)), "at least 8", id="short GOAWAY"),
        pytest.param(control(frames.SYN_STREAM, bytes(10)), "stream 0", id="SYN_STREAM for stream 0"),
        pytest.param(control(frames.SYN_REPLY, bytes(4)), "stream 0", id="SYN_REPLY for stream 0"),
        pytest.param(control(frames.HEADERS, bytes(4)), "stream 0", id="HEADERS for stream 0"),
        pytest.param(control(frames.RST_STREAM, bytes(8)), "stream 0", id="RST_STREAM for stream 0"),
        pytest.param(struct.pack(">II", 0, 3) + b"abc", "DATA for stream 0", id="DATA for stream 0"),
    ],
)
def test_malformed(data: bytes, says: str) -> None:
    """Each malformed frame is refused by one clear line, whole or byte by byte."""
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
        with pytest.raises(RemoteProtocolError, match=says):
            feed_in(decoder, pieces)


def test_an_oversize_frame_is_refused_before_it_is_held() -> None:
    """The head alone of a control frame over 64 KiB is refused: nothing of that size is ever kept."""
    head = control(frames.SYN_STREAM, b"", length=frames.MAX_CONTROL_LENGTH + 1)
    with pytest.raises(RemoteProtocolError, match="at most 65536"):
        frames.FrameDecoder().feed(head)
    assert frames.FrameDecoder().feed(control(frames.SYN_STREAM, b"", length=frames.MAX_CONTROL_LENGTH)) == []


def test_payloads_are_handed_on_as_they_come() -> None:
    """A DATA frame is not waited for: each piece comes out at once, FIN with the last."""
    feed = decoder()
    assert feed(frames.data_head(7, 6, fin=True) + b"ab") == [frames.Data(7, b"ab")]
    assert feed(b"cd") == [frames.Data(7, b"cd")]
    assert feed(b"ef" + frames.encode(frames.Ping(2))) == [frames.Data(7, b"ef", fin=True), frames.Ping(2)]


def test_what_is_not_sent() -> None:
    """Data and Ignored have no control frame, and no DATA frame is longer than its 24 bits can say."""
    for frame in (frames.Data(1, b""), frames.Ignored(4)):
        with pytest.raises(LocalProtocolError):
            frames.encode(frame)
    with pytest.raises(LocalProtocolError, match="16777216"):
        frames.data_head(1, 2**24, fin=False)
    assert len(frames.data_head(1, 2**24 - 1, fin=False)) == 8


@given(st.lists(controls | data_frames, max_size=12), st.lists(st.integers(0, 10_000), max_size=4), st.integers(1, 5))
def test_a_few_frames_at_a_time(sent: list[frames.Frame], places: list[int], most: int) -> None:
    """No call gives more than was asked for, and all together give what one call would."""
    data = b"".join(encoded(frame) for frame in sent)
    decoder_, got = frames.FrameDecoder(), []
    for piece in cut(data, places):
        batches = [decoder_.feed(piece, most)]
        while decoder_.more:
            batches.append(decoder_.feed(b"", most))
        assert all(len(batch) <= most for batch in batches)
        got += [frame for batch in batches for frame in batch]
    assert joined(got) == joined(frames.FrameDecoder().feed(data))


@pytest.mark.parametrize("flags", range(256))
def test_only_the_lowest_flag_of_data_is_fin(flags: int) -> None:
    """The other bits mean nothing in a data frame (SPDY/3.1, 2.2.2)."""
    [frame] = decoder()(struct.pack(">II", 5, flags << 24 | 1) + b"x")
    assert frame == frames.Data(5, b"x", fin=bool(flags & 1))
