"""Port forwarding that fails: what the runtime says, in which order, and what it costs the session."""

from __future__ import annotations

import re

import pytest
import trio

from tests.conformance.spdy_client import GET, Line, SpdyClient, session
from tests.conformance.ways import Ways


async def refused(client: SpdyClient, ways: Ways, data: bytes = b"") -> str:
    """Opens a connection to a port where nothing listens; returns the text."""
    error, stream = await client.exchange(9999, data)
    await client.until(lambda: error.over and stream.over)
    assert stream.ended is not None
    assert error.first_data is not None
    assert (stream.ended <= error.first_data) is ways.data_stream_first
    assert (error.reset is not None) is ways.resets_error_stream
    return error.text


async def test_nothing_listens(line: Line) -> None:
    """A refused dial ends the data stream and says why on the error stream; the session serves the next one."""
    ways = line.subject.ways
    async with session(line) as client:
        text = await refused(client, ways)
        assert re.fullmatch(ways.refused.format(port=9999), text)
        _, data = await client.exchange(7000, b"still here")
        await client.until(lambda: data.data == b"still here")


async def test_data_for_a_refused_connection_stops_a_worker(line: Line) -> None:
    """Where nobody reads the stream of a refused dial, data sent with the SYNs stops that stream's worker for good."""
    ways = line.subject.ways
    async with session(line) as client:
        assert await client.pings(5, 5) == [0, 1, 2, 3, 4]
        await refused(client, ways, b"x")
        if not ways.refusal_stops_worker:
            assert await client.pings(5, 5) == [0, 1, 2, 3, 4]
            return
        # The data stream is number 3; of five workers the one with that number answers no more.
        assert await client.pings(5, 4) == [0, 1, 2, 4]
        client.spdy.reset(3)
        assert await client.pings(5, 4) == [0, 1, 2, 4]


async def test_data_behind_the_end_stops_a_worker(line: Line) -> None:
    """Once the app's end was passed on, the runtime takes one more frame; the second stops the worker."""
    async with session(line) as client:
        error, stream = client.open(8080)
        client.spdy.send_data(stream, GET)
        await client.flush()
        await client.until(lambda: client.streams[error].ended)
        client.spdy.send_data(stream, b"one")
        await client.flush()
        assert len(await client.pings(5, 5)) == 5
        client.spdy.send_data(stream, b"two")
        await client.flush()
        assert await client.pings(5, 4) == [0, 1, 2, 4]


async def test_the_app_resets(line: Line) -> None:
    """A reset by the app: a while later the data stream ends, then the text comes; or an end without a text."""
    ways = line.subject.ways
    async with session(line) as client:
        asked = trio.current_time()
        error, data = await client.exchange(7003, b"x")
        await client.until(lambda: error.over and data.over)
        assert data.ended is not None
        assert data.ended - asked >= ways.close
        if ways.reset is None:
            assert error.text == ""
            return
        assert error.first_data is not None
        assert data.ended <= error.first_data
        assert re.fullmatch(ways.reset.format(port=7003), error.text)


async def test_the_client_resets_a_download(line: Line) -> None:
    """A client's RST_STREAM does not stop the server: it goes on for a second, or for as long as the app sends."""
    ways = line.subject.ways
    path = b"/bytes?n=500000000" if ways.our_reset_ends else b"/stream?n=10000&ms=5"
    async with session(line) as client:
        error, stream = client.open(8080)
        client.spdy.send_data(stream, b"GET " + path + b" HTTP/1.0\r\n\r\n")
        await client.flush()
        await client.until(lambda: client.streams[stream].first_data)
        client.spdy.reset(stream)
        asked, before = trio.current_time(), client.received
        await client.flush()
        if not ways.our_reset_ends:
            await trio.sleep(3 * ways.close)
            before = client.received
            await client.until(lambda: client.received > before)
            assert not client.streams[error].over
            return
        await client.until(lambda: client.streams[error].ended)
        ended = client.streams[error].ended
        assert ended is not None
        assert ended - asked > 0.9
        assert client.received - before > 1_000_000
        assert client.streams[error].data == b""


@pytest.mark.parametrize("port", ["0", "70000", "abc", "-1"])
async def test_a_port_that_is_none(line: Line, port: str) -> None:
    """Both streams for an impossible port are reset with CANCEL; the session goes on."""
    async with session(line) as client:
        pair = client.open(port)
        await client.flush()
        await client.until(lambda: all(client.streams[stream].reset == 5 for stream in pair))
        assert len(await client.pings(5, 5)) == 5


@pytest.mark.parametrize(
    "headers",
    [(("requestid", "1"), ("streamtype", "error")), (("requestid", "1"), ("port", "8080"), ("streamtype", "foo"))],
    ids=["no port", "unknown type"],
)
async def test_headers_that_do_not_fit(line: Line, headers: tuple[tuple[str, str], ...]) -> None:
    """A stream without a port, or of an unknown type, is reset with CANCEL."""
    async with session(line) as client:
        stream = client.spdy.open_stream(headers)
        await client.flush()
        await client.until(lambda: client.streams[stream].reset == 5)
