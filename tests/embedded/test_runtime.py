"""What the runtime does with streams where the real one takes too long, or needs a bad application, to show it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.apps import echo, hold
from fixtures.embedded.pods import Port
from fixtures.embedded.runtimes import CONTAINERD_1_6
from fixtures.embedded.spdy import whole_frames
from fixtures.embedded.timing import Timing
from forwarders.wire import frames
from tests.conformance.spdy_client import Line, session
from tests.conformance.subjects import POD, EmbeddedSubject, Server
from tests.conformance.ways import PLAYED

QUICK = Timing(close=0.05, pair=0.05)
# More than kernel and TLS buffers hold on loopback, so that an application that does not read stops the stream.
FULL = 40 * 1024 * 1024
FRAME = 64 * 1024


@pytest.fixture
async def quick(tmp_path: Path) -> AsyncIterator[EmbeddedSubject]:
    """A cluster that loses patience soon; its pod echoes on 7000, holds on 7004, declares 9999."""
    async with EmbeddedCluster.open(QUICK) as cluster:
        admin, nobody = cluster.client_tls(tmp_path), cluster.client_tls()
        await cluster.pod(POD, [Port(7000, echo), Port(7004, hold), Port(9999)])
        server = Server("127.0.0.1", cluster.port, admin, nobody, cluster.authority)
        yield EmbeddedSubject(cluster, server, "default", PLAYED[CONTAINERD_1_6])


async def test_a_stream_without_its_partner(quick: EmbeddedSubject) -> None:
    """An error stream whose data stream does not come in time is told so, and stays open."""
    async with session(Line.direct(quick)) as client:
        error = client.spdy.open_stream((("streamtype", "error"), ("port", "7000"), ("requestid", "6")), fin=True)
        await client.flush()
        await client.until(lambda: client.streams[error].data)
        assert client.streams[error].text.endswith(", request=6) timed out waiting for streams")
        assert client.streams[error].ended is None


async def test_a_stream_too_many(quick: EmbeddedSubject) -> None:
    """A second error stream of a request is named on the first."""
    async with session(Line.direct(quick)) as client:
        common = (("streamtype", "error"), ("port", "7000"), ("requestid", "1"))
        first = client.spdy.open_stream(common, fin=True)
        client.spdy.open_stream(common, fin=True)
        await client.flush()
        await client.until(lambda: client.streams[first].data)
        said = "error processing stream for request 1: error stream already assigned"
        assert client.streams[first].text.startswith(said)


async def test_an_app_that_does_not_read_stops_its_worker(quick: EmbeddedSubject) -> None:
    """What the application does not take holds up its stream's worker, and no other: four of five PINGs come back."""
    async with session(Line.direct(quick)) as client:
        _, stream = client.open(7004)
        # Fewer frames than the worker's queue has room for, once the kernel's buffers are full.
        for _ in range(40):
            client.spdy.send_data(stream, bytes(FULL // 40))
        await client.flush()
        assert await client.pings(5, 4) == [0, 1, 2, 4]
        _, other = await client.exchange(7000, b"others go on")
        await client.until(lambda: other.data == b"others go on")


async def test_a_session_that_ends_leaves_nothing(quick: EmbeddedSubject) -> None:
    """A client that goes away in the middle of everything leaves the server able to serve the next."""
    async with session(Line.direct(quick)) as client:
        _, stream = client.open(7004)
        client.open(9999)
        client.spdy.send_data(stream, bytes(FRAME))
        client.spdy.open_stream((("streamtype", "data"), ("port", "7000"), ("requestid", "alone")))
        await client.flush()
        await client.until(lambda: client.streams[stream].accepted)
    async with session(Line.direct(quick)) as client:
        _, data = await client.exchange(7000, b"next")
        await client.until(lambda: data.data == b"next")


@given(st.lists(st.integers(0, 300), max_size=8), st.lists(st.integers(1, 40), max_size=60))
def test_frames_come_whole(sizes: list[int], cuts: list[int]) -> None:
    """However the bytes are cut, each frame comes once, whole and in order."""
    sent = [frames.data_head(2 * index + 1, size, fin=False) + bytes(size) for index, size in enumerate(sizes)]
    rest, buffer, found = b"".join(sent), bytearray(), []
    for cut in [*cuts, len(rest)]:
        buffer += rest[:cut]
        rest = rest[cut:]
        found += whole_frames(buffer)
    assert found == sent
    assert not buffer
