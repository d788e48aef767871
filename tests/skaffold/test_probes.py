"""Probes among the bytes of a stream, and the posting of them."""

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
from watcher.skaffold.events import EventDecoder
from watcher.skaffold.http_request import ApiAddress
from watcher.skaffold.stream import Probes

ADDRESS = ApiAddress("127.0.0.1", 50051)


async def is_back(probes: Probes, number: int) -> bool:
    with trio.move_on_after(0) as now:
        await probes.returned(number)
    return not now.cancelled_caught


@given(cuts=st.lists(st.integers(0, 70_000), max_size=20), size=st.sampled_from([0, 1 << 16]))
def test_a_probe_is_seen_however_the_stream_is_cut(cuts: list[int], size: int) -> None:
    """Between other events, in one piece or in many; and it is seen when it has come, not before."""

    async def main() -> None:
        port = Port(is_open=True)
        probes = Probes(port.dial, ADDRESS)
        number = await probes.post(size)
        event = port.posts[0]
        assert len(event) > size
        stream = raw("dev-first") + event
        edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
        probes.feed(raw("dev-first"))
        assert not await is_back(probes, number)
        for start, end in itertools.pairwise(edges):
            probes.feed(stream[start:end])
        assert await is_back(probes, number)
        assert not await is_back(probes, number + 1)

    trio.run(main)


async def test_other_streams_probes_are_not_ours() -> None:
    """A replay holds the probes of every reader before us."""
    port = Port(is_open=True)
    ours, theirs = Probes(port.dial, ADDRESS), Probes(port.dial, ADDRESS)
    number = await ours.post()
    await theirs.post()
    ours.feed(port.posts[1])
    assert not await is_back(ours, number)


async def test_a_probe_is_no_event_to_us() -> None:
    """Nor has it a text that anybody else would show."""
    port = Port(is_open=True)
    await Probes(port.dial, ADDRESS).post(1 << 16)
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
async def test_one_who_takes_no_probe(answer: bytes | None, error: type[Exception], autojump_clock: MockClock) -> None:
    """Each way of not taking it is an error of its own, within two seconds."""
    port = Port(is_open=True)
    port.answer = answer
    with pytest.raises(error, match=r"http://127\.0\.0\.1:50051"):
        await Probes(port.dial, ADDRESS).post()
    assert trio.current_time() == (2.0 if answer is None else 0.0)


async def test_nobody_listens() -> None:
    """As good as a stream that has ended."""
    with pytest.raises(StreamEndedError, match="no Skaffold answers"):
        await Probes(Port().dial, ADDRESS).post()


async def test_a_probe_that_does_not_come_back(autojump_clock: MockClock) -> None:
    """Skaffold has taken it and tells nobody of it: it stands still."""
    port = Port(is_open=True)
    with pytest.raises(StuckError, match="stands still"):
        await Probes(port.dial, ADDRESS).round_trip()
    assert trio.current_time() == 2.0


async def test_a_probe_cut_between_two_reads_is_seen() -> None:
    """At each of its bytes; and it is seen by the read that brings its end, not before."""
    port = Port(is_open=True)
    probes = Probes(port.dial, ADDRESS)
    for _ in range(60):
        number = await probes.post()
        event = port.posts[-1]
        start = event.index(b"portside-")
        end = event.index(b".", start) + 1
        cut = start + 1 + number % (end - start - 1)
        probes.feed(event[:cut])
        assert not await is_back(probes, number), cut
        probes.feed(event[cut:end])
        assert await is_back(probes, number), cut


async def test_a_probe_that_comes_byte_by_byte_is_seen() -> None:
    """Cut more than once."""
    port = Port(is_open=True)
    probes = Probes(port.dial, ADDRESS)
    number = await probes.post()
    for byte in raw("dev-first")[-200:] + port.posts[0]:
        probes.feed(bytes([byte]))
    assert await is_back(probes, number)
