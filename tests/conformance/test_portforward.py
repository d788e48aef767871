"""Port forwarding that works: what the runtime does with streams, in which order and when."""

from __future__ import annotations

import re

import trio

from forwarders.transports.opener import Transport
from tests.conformance.spdy_client import GET, Line, session
from tests.conformance.subjects import CONTENT, POD


async def test_everything_in_one_write(line: Line) -> None:
    """Both SYN_STREAMs and the request in one write: the answer comes."""
    async with session(line) as client:
        _, data = await client.exchange(8080, GET)
        await client.until(lambda: b"\npod " in data.data)
        assert data.text.startswith("HTTP/1.")
        assert data.text.endswith(f"\r\n\r\n{CONTENT}\npod {POD}\n")


async def test_the_app_closes(line: Line) -> None:
    """Once the app has closed, the end reaches the client a while later: both streams, one after the other, no text."""
    ways = line.subject.ways
    async with session(line) as client:
        asked = trio.current_time()
        error, data = await client.exchange(8080, GET)
        await client.until(lambda: error.ended and data.ended)
        assert data.ended is not None
        assert error.ended is not None
        assert data.ended - asked >= ways.close
        assert (data.ended <= error.ended) is ways.data_stream_first
        assert error.data == b""


async def test_both_close(line: Line) -> None:
    """If the client ends its side too, the end comes at once: long before that of a connection where it does not."""
    async with session(line) as client:
        (waiting, first), (error, second) = client.open(8080), client.open(8080)
        for stream in (first, second):
            client.spdy.send_data(stream, GET)
        await client.flush()
        await client.until(lambda: client.streams[first].first_data and client.streams[second].first_data)
        client.spdy.send_data(second, b"", fin=True)
        await client.flush()
        await client.until(lambda: client.streams[error].ended)
        assert client.streams[waiting].ended is None


async def test_the_server_speaks_first(line: Line) -> None:
    """An application that greets is heard before anything is sent to it."""
    async with session(line) as client:
        _, data = await client.exchange(7002)
        await client.until(lambda: data.data.endswith(b"\r\n"))
        assert data.text == f"220 {POD} speaks first\r\n"


async def test_streams_without_a_request_id(line: Line) -> None:
    """Old clients send no requestid: the data stream that follows its error stream belongs to it."""
    async with session(line) as client:
        client.spdy.open_stream((("streamtype", "error"), ("port", "8080")), fin=True)
        data = client.spdy.open_stream((("streamtype", "data"), ("port", "8080")))
        client.spdy.send_data(data, GET)
        await client.flush()
        await client.until(lambda: b"\npod " in client.streams[data].data)


async def test_two_hundred_at_once(line: Line) -> None:
    """200 connections opened in one write on one session all get their own answer."""
    async with session(line) as client:
        wanted = {}
        for number in range(200):
            _, stream = client.open(7000)
            wanted[stream] = b"echo %d" % number
            client.spdy.send_data(stream, wanted[stream])
        await client.flush()
        await client.until(lambda: all(client.streams[stream].data == text for stream, text in wanted.items()))


# Half-close


async def test_a_late_answer_to_a_closed_request_is_lost(line: Line) -> None:
    """Nothing is half-closed: a while after the client's FIN the connection is over, answered or not."""
    async with session(line) as client:
        asked = trio.current_time()
        error, data = await client.exchange(7001, b"hi", fin=True)
        await client.until(lambda: error.ended)
        assert error.ended is not None
        assert error.ended - asked >= line.subject.ways.close
        assert data.data == b""
        assert error.data == b""


async def test_a_late_answer_to_an_open_request_comes(line: Line) -> None:
    """Without the FIN the same answer arrives."""
    async with session(line) as client:
        _, data = await client.exchange(7001, b"hi\n")
        await client.until(lambda: data.data)
        assert data.text == "late: 3 hi\n"


# The session


async def test_pings_are_answered(line: Line) -> None:
    """Each PING is answered, on an idle session too."""
    async with session(line) as client:
        assert await client.pings(10, 10) == list(range(10))


async def test_goaway_ends_the_session(line: Line) -> None:
    """After our GOAWAY nothing more is served: SPDY's connection is closed, a tunnel's bytes are read no longer."""
    async with session(line) as client:
        if line.transport is Transport.SPDY:
            _, data = await client.exchange(7000, b"open")
            await client.until(lambda: data.data)
        client.spdy.go_away()
        await client.flush()
        if line.transport is Transport.SPDY:
            await client.until(lambda: client.closed)
            return
        # Whether a GOAWAY comes back, and whether the tunnel outlives our next write, are races (docs/design/wire.md).
        _, late = await client.exchange(7000, b"late")
        async with session(line) as other:
            _, data = await other.exchange(7000, b"open")
            await other.until(lambda: data.data)
        assert late.data == b""


async def test_a_deleted_pod_leaves_its_session_open(line: Line) -> None:
    """The session of a deleted pod lives on; a connection on it fails with the runtime's words."""
    await line.subject.add_pod("doomed")
    async with session(line, "doomed") as client:
        _, data = await client.exchange(7000, b"before")
        await client.until(lambda: data.data)
        await line.subject.delete_pod("doomed")
        error, _ = await client.exchange(7000)
        await client.until(lambda: error.over)
        assert re.fullmatch(line.subject.ways.gone.format(port=7000), error.text)
        assert len(await client.pings(5, 5)) == 5
