"""Port forwarding: the upgrade, and what the runtime does with streams, in which order and when."""

from __future__ import annotations

import re

import pytest
import trio

from tests.conformance.spdy_client import UPGRADE, SpdyClient, session
from tests.conformance.subjects import CONTENT, POD, Subject

GET = b"GET / HTTP/1.0\r\n\r\n"
# Seconds the runtime waits once one direction has ended. Measured from before the request was sent, a busy machine
# can only make it longer.
CLOSE = 1.0


def path(subject: Subject, pod: str = POD) -> str:
    return f"/api/v1/namespaces/{subject.namespace}/pods/{pod}/portforward"


# The upgrade


async def test_unknown_pod(subject: Subject) -> None:
    """A pod that is not there is 404, with a Status."""
    async with subject.server.client() as client:
        answer = await client.post(path(subject, "nope"), headers=UPGRADE)
    assert answer.status_code == 404
    assert answer.json()["message"] == 'pods "nope" not found'


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_upgrade(subject: Subject, method: str) -> None:
    """Without an upgrade it is a bad request."""
    async with subject.server.client() as client:
        answer = await client.request(method, path(subject))
    assert (answer.status_code, answer.json()["message"]) == (400, "Upgrade request required")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_protocol_in_common(subject: Subject, method: str) -> None:
    """A stream protocol that the runtime does not know is 403, and a header says which ones it does."""
    async with subject.server.client() as client:
        headers = UPGRADE | {"X-Stream-Protocol-Version": "foo"}
        answer = await client.request(method, path(subject), headers=headers)
    assert answer.status_code == 403
    assert answer.headers["x-accepted-stream-protocol-versions"] == "portforward.k8s.io"
    negotiation = "unable to negotiate protocol: client supports [foo], server accepts [portforward.k8s.io]"
    assert answer.text == f"unable to upgrade: {negotiation}\n"


@pytest.mark.parametrize(
    "headers",
    [{"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}, {"Connection": "Upgrade", "Upgrade": "foo"}],
    ids=["no stream protocol", "another upgrade"],
)
async def test_an_upgrade_that_the_runtime_does_not_make(subject: Subject, headers: dict[str, str]) -> None:
    """What the runtime answers without upgrading comes out as 500."""
    async with subject.server.client() as client:
        answer = await client.post(path(subject), headers=headers)
    assert (answer.status_code, answer.text) == (500, "invalid upgrade response: status code 200\n")


async def test_a_pod_without_a_node(subject: Subject) -> None:
    """A pod that is not scheduled is a bad request."""
    await subject.add_pod("unscheduled", scheduled=False)
    async with subject.server.client() as client:
        answer = await client.post(path(subject, "unscheduled"), headers=UPGRADE)
    message = "pod unscheduled does not have a host assigned"
    assert (answer.status_code, answer.json()["message"]) == (400, message)


# A connection that goes well


async def test_everything_in_one_write(subject: Subject) -> None:
    """Both SYN_STREAMs and the request in one write: the answer comes."""
    async with session(subject) as client:
        _, data = await client.exchange(8080, GET)
        await client.until(lambda: b"\npod " in data.data)
        assert data.text.startswith("HTTP/1.")
        assert data.text.endswith(f"\r\n\r\n{CONTENT}\npod {POD}\n")


async def test_the_app_closes(subject: Subject) -> None:
    """Once the app has closed, the end reaches the client a second later: data stream, then error stream, no text."""
    async with session(subject) as client:
        asked = trio.current_time()
        error, data = await client.exchange(8080, GET)
        await client.until(lambda: error.ended)
        assert data.ended is not None
        assert error.ended is not None
        assert data.ended - asked >= CLOSE
        assert data.ended <= error.ended
        assert error.data == b""


async def test_both_close(subject: Subject) -> None:
    """If the client ends its side too, the end comes at once: long before that of a connection where it does not."""
    async with session(subject) as client:
        (waiting, first), (error, second) = client.open(8080), client.open(8080)
        for stream in (first, second):
            client.spdy.send_data(stream, GET)
        await client.flush()
        await client.until(lambda: client.streams[first].first_data and client.streams[second].first_data)
        client.spdy.send_data(second, b"", fin=True)
        await client.flush()
        await client.until(lambda: client.streams[error].ended)
        assert client.streams[waiting].ended is None


async def test_the_server_speaks_first(subject: Subject) -> None:
    """An application that greets is heard before anything is sent to it."""
    async with session(subject) as client:
        _, data = await client.exchange(7002)
        await client.until(lambda: data.data.endswith(b"\r\n"))
        assert data.text == f"220 {POD} speaks first\r\n"


async def test_streams_without_a_request_id(subject: Subject) -> None:
    """Old clients send no requestid: the data stream that follows its error stream belongs to it."""
    async with session(subject) as client:
        client.spdy.open_stream((("streamtype", "error"), ("port", "8080")), fin=True)
        data = client.spdy.open_stream((("streamtype", "data"), ("port", "8080")))
        client.spdy.send_data(data, GET)
        await client.flush()
        await client.until(lambda: b"\npod " in client.streams[data].data)


async def test_two_hundred_at_once(subject: Subject) -> None:
    """200 connections opened in one write on one session all get their own answer."""
    async with session(subject) as client:
        wanted = {}
        for number in range(200):
            _, stream = client.open(7000)
            wanted[stream] = b"echo %d" % number
            client.spdy.send_data(stream, wanted[stream])
        await client.flush()
        await client.until(lambda: all(client.streams[stream].data == text for stream, text in wanted.items()))


# Half-close


async def test_a_late_answer_to_a_closed_request_is_lost(subject: Subject) -> None:
    """Nothing is half-closed: one second after the client's FIN the connection is over, answered or not."""
    async with session(subject) as client:
        asked = trio.current_time()
        error, data = await client.exchange(7001, b"hi", fin=True)
        await client.until(lambda: error.ended)
        assert error.ended is not None
        assert error.ended - asked >= CLOSE
        assert data.data == b""
        assert error.data == b""


async def test_a_late_answer_to_an_open_request_comes(subject: Subject) -> None:
    """Without the FIN the same answer arrives."""
    async with session(subject) as client:
        _, data = await client.exchange(7001, b"hi\n")
        await client.until(lambda: data.data)
        assert data.text == "late: 3 hi\n"


# A connection that fails


async def refused(client: SpdyClient, data: bytes = b"") -> str:
    """Opens a connection to a port where nothing listens; returns the text."""
    error, stream = await client.exchange(9999, data)
    await client.until(lambda: error.ended)
    assert stream.ended is not None
    assert error.first_data is not None
    assert stream.ended <= error.first_data
    return error.text


async def test_nothing_listens(subject: Subject) -> None:
    """A refused dial ends the data stream, then says why on the error stream; the session serves the next one."""
    async with session(subject) as client:
        text = await refused(client)
        pattern = (
            r"error forwarding port 9999 to pod ([0-9a-f]{64}), uid : failed to execute portforward in network "
            r'namespace "[^"]+/cni-[0-9a-f-]{36}": failed to connect to localhost:9999 inside namespace "\1", IPv4: '
            r"dial tcp4 127\.0\.0\.1:9999: connect: connection refused IPv6 dial tcp6: address localhost: no suitable "
            r"address found "
        )
        assert re.fullmatch(pattern, text)
        _, data = await client.exchange(7000, b"still here")
        await client.until(lambda: data.data == b"still here")


async def test_data_for_a_refused_connection_stops_a_worker(subject: Subject) -> None:
    """Nobody reads the stream of a refused dial: data sent with the SYNs stops the worker of that stream for good."""
    async with session(subject) as client:
        assert await client.pings(5, 5) == [0, 1, 2, 3, 4]
        await refused(client, b"x")
        # The data stream is number 3; of five workers the one with that number answers no more.
        assert await client.pings(5, 4) == [0, 1, 2, 4]
        client.spdy.reset(3)
        assert await client.pings(5, 4) == [0, 1, 2, 4]


async def test_data_behind_the_end_stops_a_worker(subject: Subject) -> None:
    """Once the app's end was passed on, the runtime takes one more frame; the second stops the worker."""
    async with session(subject) as client:
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


async def test_the_app_resets(subject: Subject) -> None:
    """A reset by the app: a second later the data stream ends, then the text comes, then the error stream ends."""
    async with session(subject) as client:
        asked = trio.current_time()
        error, data = await client.exchange(7003, b"x")
        await client.until(lambda: error.ended)
        assert data.ended is not None
        assert error.first_data is not None
        assert data.ended - asked >= CLOSE
        assert data.ended <= error.first_data
        assert "error forwarding port 7003 to pod" in error.text
        assert re.search(
            r": read tcp4 127\.0\.0\.1:\d+->127\.0\.0\.1:7003: read: connection reset by peer$", error.text
        )


async def test_the_client_resets_a_download(subject: Subject) -> None:
    """A client's RST_STREAM does not stop the server: it goes on sending for a second; then the error stream ends."""
    async with session(subject) as client:
        error, stream = client.open(8080)
        client.spdy.send_data(stream, b"GET /bytes?n=500000000 HTTP/1.0\r\n\r\n")
        await client.flush()
        await client.until(lambda: client.streams[stream].first_data)
        client.spdy.reset(stream)
        await client.flush()
        asked, before = trio.current_time(), client.received
        await client.until(lambda: client.streams[error].ended)
        ended = client.streams[error].ended
        assert ended is not None
        assert ended - asked > 0.9
        assert client.received - before > 1_000_000
        assert client.streams[error].data == b""


@pytest.mark.parametrize("port", ["0", "70000", "abc", "-1"])
async def test_a_port_that_is_none(subject: Subject, port: str) -> None:
    """Both streams for an impossible port are reset with CANCEL; the session goes on."""
    async with session(subject) as client:
        pair = client.open(port)
        await client.flush()
        await client.until(lambda: all(client.streams[stream].reset == 5 for stream in pair))
        assert len(await client.pings(5, 5)) == 5


@pytest.mark.parametrize(
    "headers",
    [(("requestid", "1"), ("streamtype", "error")), (("requestid", "1"), ("port", "8080"), ("streamtype", "foo"))],
    ids=["no port", "unknown type"],
)
async def test_headers_that_do_not_fit(subject: Subject, headers: tuple[tuple[str, str], ...]) -> None:
    """A stream without a port, or of an unknown type, is reset with CANCEL."""
    async with session(subject) as client:
        stream = client.spdy.open_stream(headers)
        await client.flush()
        await client.until(lambda: client.streams[stream].reset == 5)


# The session


async def test_pings_are_answered(subject: Subject) -> None:
    """Each PING is answered, on an idle session too."""
    async with session(subject) as client:
        assert await client.pings(10, 10) == list(range(10))


async def test_goaway_closes_the_session(subject: Subject) -> None:
    """A client's GOAWAY closes the connection, open streams or not."""
    async with session(subject) as client:
        _, data = await client.exchange(7000, b"open")
        await client.until(lambda: data.data)
        client.spdy.go_away()
        await client.flush()
        await client.until(lambda: client.closed)


async def test_a_deleted_pod_leaves_its_session_open(subject: Subject) -> None:
    """The session of a deleted pod lives on; a connection on it fails with the runtime's words."""
    await subject.add_pod("doomed")
    async with session(subject, "doomed") as client:
        _, data = await client.exchange(7000, b"before")
        await client.until(lambda: data.data)
        await subject.delete_pod("doomed")
        error, _ = await client.exchange(7000)
        await client.until(lambda: error.ended)
        start = r"error forwarding port 7000 to pod ([0-9a-f]{64}), uid : "
        closed = r'network namespace for sandbox "\1" is closed'
        removed = r'failed to find sandbox "\1" in store: not found'
        assert re.fullmatch(f"{start}({closed}|{removed})", error.text)
        assert len(await client.pings(5, 5)) == 5
