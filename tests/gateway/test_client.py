"""A client's connection over a real socket: what goes on to the pod is, to another parser too, for one Host alone."""

from __future__ import annotations

import h11
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from forwarders.errors import RequestError
from forwarders.gateway.gateway import GatewayClient
from tests.gateway.made import get, pair

WEB, DB = get("web.localhost"), get("db.localhost", "/secret")
ENDS = (b"\r\n", b"\n", b"\r", b"\r\n ", b"\r\n\r\n", b"", b" ", b"\t", b"\0", b":", b"0", b"5", b"\xa0", b"\x0b")
LINES = (
    b"GET / HTTP/1.1", b"POST / HTTP/1.1", b"GET http://db.localhost/ HTTP/1.1", b"GET /secret HTTP/1.0",
    b"Host: web.localhost", b"Host: db.localhost", b"Host : db.localhost", b" Host: db.localhost",
    b"Content-Length: 5", b"content-length: 0", b"Content-Length: +5", b"Content-Length: 5, 5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: x, chunked", b"Transfer-Encoding:\x0bchunked",
    b"Connection: keep-alive", b"X: y", b"5", b"0", b"hello", b"5;x", b"-1",
)  # fmt: skip
# Requests taken apart and put together wrongly, whole ones between them.
line = st.builds(lambda text, end: text + end, st.sampled_from(LINES), st.sampled_from((b"\r\n",) * 9 + ENDS))
noise = st.one_of(line, line, st.sampled_from((WEB, DB, b"\r\n", b"\r\n\r\n")), st.binary(max_size=4))
attack = st.lists(noise, max_size=14).map(b"".join)
heads = st.sampled_from(
    (
        WEB,
        b"POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: web.localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"",
    )
)


@given(heads, attack, st.integers(1, 40))
def test_another_parser_finds_one_host_in_what_goes_on(head: bytes, attack: bytes, cut: int) -> None:
    """Whatever is sent, however it is cut: the pod's own parser reads requests for the first one's Host only."""
    sent = head + attack
    passed = _run(sent, cut)
    assert sent.startswith(passed) or sent.lstrip(b"\r\n").startswith(passed)  # without empty lines before the first
    assert len({host.rpartition(b":")[0] or host for host in _hosts(passed)}) <= 1


@given(attack)
def test_all_of_it_goes_on_that_is_for_one_host(attack: bytes) -> None:
    """Nothing is lost before what is refused."""
    assert _run(WEB + WEB + DB + attack, 7) == WEB + WEB


def _run(sent: bytes, cut: int) -> bytes:
    return trio.run(_through, sent, cut, clock=MockClock(autojump_threshold=0))


async def _through(sent: bytes, cut: int) -> bytes:
    """What a relay reads from the client."""
    ours, theirs = pair()
    client = GatewayClient(theirs)
    passed = b""

    async def send() -> None:
        async with ours:
            for start in range(0, len(sent), cut):
                await ours.send_all(sent[start : start + cut])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        try:
            if await client.first_request() is not None:
                while data := await client.receive():
                    passed += data
        except (RequestError, OSError):
            pass
        finally:
            client.close()
            nursery.cancel_scope.cancel()
    return passed


def _requests(data: bytes) -> list[h11.Request]:
    """As far as a server would read them that answers each."""
    http = h11.Connection(h11.SERVER)
    http.receive_data(data)
    found = []
    try:
        while (event := http.next_event()) is not h11.NEED_DATA and not isinstance(event, h11.ConnectionClosed):
            if isinstance(event, h11.Request):
                found.append(event)
            elif isinstance(event, h11.EndOfMessage):
                http.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                http.send(h11.EndOfMessage())
                http.start_next_cycle()
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        pass
    return found


def _hosts(data: bytes) -> list[bytes]:
    return [value for request in _requests(data) for name, value in request.headers if name == b"host"]
