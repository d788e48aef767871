"""Marks among the bytes of a stream, and the posting of them."""

from __future__ import annotations

import itertools

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.skaffold.peer import Port
from tests.skaffold.recorded import raw
from watcher.errors import NotSkaffoldError, StreamEndedError, StuckError
from watcher.skaffold.address import ApiAddress
from watcher.skaffold.decoder import EventDecoder
from watcher.skaffold.marks import Marks

ADDRESS = ApiAddress("127.0.0.1", 50051)


async def is_back(marks: Marks, number: int) -> bool:
    with trio.move_on_after(0) as now:
        await marks.back(number)
    return not now.cancelled_caught


@given(cuts=st.lists(st.integers(0, 70_000), max_size=20), size=st.sampled_from([0, 1 << 16]))
def test_a_mark_is_seen_however_the_stream_is_cut(cuts: list[int], size: int) -> None:
    """Between other events, in one piece or in many; and it is seen when it has come, not before."""

    async def main() -> None:
        port = Port(is_open=True)
        marks = Marks(port.dial, ADDRESS)
        number = await marks.post(size)
        event = port.posts[0]
        assert len(event) > size
        stream = raw("dev-first") + event
        edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
        marks.feed(raw("dev-first"))
        assert not await is_back(marks, number)
        for start, end in itertools.pairwise(edges):
            marks.feed(stream[start:end])
        assert await is_back(marks, number)
        assert not await is_back(marks, number + 1)

    trio.run(main)


async def test_other_streams_marks_are_not_ours() -> None:
    """A replay holds the marks of every reader before us."""
    port = Port(is_open=True)
    ours, theirs = Marks(port.dial, ADDRESS), Marks(port.dial, ADDRESS)
    number = await ours.post()
    await theirs.post()
    ours.feed(port.posts[1])
    assert not await is_back(ours, number)


async def test_a_mark_is_no_event_to_us() -> None:
    """Nor has it a text that anybody else would show."""
    port = Port(is_open=True)
    await Marks(port.dial, ADDRESS).post(1 << 16)
    decoder = EventDecoder()
    assert decoder.feed(port.posts[0] + b"\n") == []
    assert decoder.garbage == 0
    assert b'"message": ""' in port.posts[0]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, StuckError),
        (b"", StreamEndedError),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", NotSkaffoldError),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", NotSkaffoldError),
    ],
)
async def test_one_who_takes_no_mark(answer: bytes | None, error: type[Exception], autojump_clock: MockClock) -> None:
    """Each way of not taking it is an error of its own, within two seconds."""
    port = Port(is_open=True)
    port.answer = answer
    with pytest.raises(error, match=r"http://127\.0\.0\.1:50051"):
        await Marks(port.dial, ADDRESS).post()
    assert trio.current_time() == (2.0 if answer is None else 0.0)


async def test_nobody_listens() -> None:
    """As good as a stream that has ended."""
    with pytest.raises(StreamEndedError, match="no Skaffold answers"):
        await Marks(Port().dial, ADDRESS).post()


async def test_a_mark_that_does_not_come_back(autojump_clock: MockClock) -> None:
    """Skaffold has taken it and tells nobody of it: it stands still."""
    port = Port(is_open=True)
    with pytest.raises(StuckError, match="stands still"):
        await Marks(port.dial, ADDRESS).echo()
    assert trio.current_time() == 2.0


async def test_a_mark_cut_between_two_reads_is_seen() -> None:
    """At each of its bytes; and it is seen by the read that brings its end, not before."""
    port = Port(is_open=True)
    marks = Marks(port.dial, ADDRESS)
    for _ in range(60):
        number = await marks.post()
        event = port.posts[-1]
        start = event.index(b"portside-")
        end = event.index(b".", start) + 1
        cut = start + 1 + number % (end - start - 1)
        marks.feed(event[:cut])
        assert not await is_back(marks, number), cut
        marks.feed(event[cut:end])
        assert await is_back(marks, number), cut


async def test_a_mark_that_comes_byte_by_byte_is_seen() -> None:
    """Cut more than once."""
    port = Port(is_open=True)
    marks = Marks(port.dial, ADDRESS)
    number = await marks.post()
    for byte in raw("dev-first")[-200:] + port.posts[0]:
        marks.feed(bytes([byte]))
    assert await is_back(marks, number)
