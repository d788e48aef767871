"""Following requests: what goes on to the pod is what came, cut anywhere; and nothing of another Host ever does."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarders.errors import RequestError
from forwarders.gateway.head import MAX_HEAD, parse_head
from forwarders.gateway.requests import MAX_INTERIM, Requests, UpgradeAnswer

GET = b"GET / HTTP/1.1\r\nHost: web.localhost:8000\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 11\r\n\r\nhello\r\n\r\nok"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: WEB.localhost.\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nGET /\r\nA;x=y\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n"
)
OTHER = b"GET /secret HTTP/1.1\r\nHost: db.localhost\r\n\r\n"
WEBSOCKET = b"GET /ws HTTP/1.1\r\nHost: web.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
GOOD = [GET, POST, CHUNKED]


def followed(data: bytes, cuts: list[int]) -> tuple[bytes, RequestError | None]:
    """What went on to the pod, and what was refused."""
    requests = Requests()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    passed = b"".join(requests.feed(data[start:end]) for start, end in pairwise(edges))
    return passed, requests.refused


cuts = st.lists(st.integers(0, 400), max_size=12)


@given(st.lists(st.sampled_from(GOOD), min_size=1, max_size=4), cuts)
def test_every_byte_of_good_requests_goes_on(requests: list[bytes], cuts: list[int]) -> None:
    """Kept alive, pipelined, with bodies that look like requests, cut anywhere."""
    data = b"".join(requests)
    assert followed(data, cuts) == (data, None)


@given(st.lists(st.sampled_from(GOOD), min_size=1, max_size=3), cuts)
def test_another_host_never_goes_on(requests: list[bytes], cuts: list[int]) -> None:
    """All before it does; nothing of it, or behind it."""
    before = b"".join(requests)
    passed, error = followed(before + OTHER + GET, cuts)
    assert passed == before
    assert error is not None
    assert error.status == 421


@given(st.binary(max_size=300), cuts)
def test_any_bytes_are_followed_or_refused(data: bytes, cuts: list[int]) -> None:
    """Nothing else is raised, and nothing is invented."""
    passed, _ = followed(data, cuts)
    assert data.startswith(passed) or data.lstrip(b"\r\n").startswith(passed)


@given(st.lists(st.sampled_from([*GOOD, OTHER, WEBSOCKET, b"\r\n", b"0\r\n\r\n", b"x"]), max_size=5), cuts)
def test_pieces_in_any_order_lead_to_one_host(pieces: list[bytes], cuts: list[int]) -> None:
    """Whatever is sent: where the first request is for web, nothing for db goes on."""
    passed, _ = followed(GET + b"".join(pieces), cuts)
    assert b"secret" not in passed


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a.localhost\r\nHost: a.localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a.localhost, b.localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a.localhost@b.localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a.localhost:80:80\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a.localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a.localhost\n\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a.localhost\r\nX: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a.localhost\r\nX: a\r\n b\r\nHost: b.localhost\r\n\r\n", 400),
        (b"GET http://b.localhost/ HTTP/1.1\r\nHost: a.localhost\r\n\r\n", 400),
        (b"GET https://a.localhost/ HTTP/1.1\r\nHost: a.localhost\r\n\r\n", 400),
        (b"GET a.localhost/ HTTP/1.1\r\nHost: a.localhost\r\n\r\n", 400),
        (b"CONNECT a.localhost:80 HTTP/1.1\r\nHost: a.localhost\r\n\r\n", 405),
        (b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 1, 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: +1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: " + b"9" * 19 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a.localhost\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a.localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (
            b"POST / HTTP/1.1\r\nHost: a.localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            501,
        ),
        (b"POST / HTTP/1.0\r\nHost: a.localhost\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a.localhost\r\nX: " + b"a" * MAX_HEAD + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a.localhost\r\nX: " + b"a" * MAX_HEAD, 431),
        (b"GET / HTTP/1.1\r\nHost: a.localhost\r\n" + b"X: a\r\n" * (MAX_HEAD // 6), 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 0),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 0),
    ],
)
def test_what_two_parsers_may_read_differently_is_refused(head: bytes, status: int) -> None:
    """And so is what is no HTTP/1: nothing of it goes on."""
    passed, error = followed(head, [])
    assert passed == b""
    assert error is not None
    assert error.status in ({status, 400} if status == 501 else {status})
    assert status != 431 or str(error) == "the request's head is longer than 64 KiB"


@pytest.mark.parametrize(
    "body",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello",
        b"0x5\r\nhello",
        b"5\r\nhello!\r\n",
        b"5 5\r\nhello",
        b"0\r\nX : 1\r\n\r\n",
    ],
)
def test_a_body_that_is_not_chunked_as_it_says_ends_it(body: bytes) -> None:
    """The head and the good chunks before have gone on; what follows might be anything."""
    head = CHUNKED.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    passed, error = followed(head + body + OTHER, [])
    assert error is not None
    assert b"secret" not in passed


def test_the_target_may_be_a_url_at_the_same_host() -> None:
    """As proxies' clients write it."""
    request = parse_head(b"GET http://Web.localhost:8000/x HTTP/1.1\r\nHost: web.localhost:8000\r\n\r\n")
    assert (request.host, request.target) == ("web.localhost", "http://Web.localhost:8000/x")


def test_an_address_is_a_host_too() -> None:
    """It is for others to say that it leads nowhere."""
    assert parse_head(b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n").host == "[::1]"
    assert parse_head(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n").host == "127.0.0.1"


@given(st.sampled_from([GET, OTHER, b"\x81\x85abcd", b"GET"]), cuts)
def test_a_websocket_is_let_through_once_the_pod_agrees(frames: bytes, cuts: list[int]) -> None:
    """Until then what comes is kept; then nobody looks into it."""
    requests = Requests()
    assert requests.feed(WEBSOCKET + frames) == WEBSOCKET
    assert requests.undecided
    assert requests.upgraded(agreed=True) == frames
    assert requests.feed(OTHER) == OTHER


def test_a_websocket_that_the_pod_declines_leaves_http() -> None:
    """Requests behind it are followed as any others."""
    requests = Requests()
    requests.feed(WEBSOCKET + GET)
    assert requests.upgraded(agreed=False) == GET
    assert requests.feed(OTHER + GET) == b""
    assert requests.refused is not None


def test_only_a_connections_first_request_becomes_a_websocket() -> None:
    """Else an answer to an earlier one might be taken for the one to it."""
    requests = Requests()
    assert requests.feed(GET + WEBSOCKET + GET) == GET + WEBSOCKET + GET
    assert not requests.undecided


@pytest.mark.parametrize(
    ("answer", "agreed"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\n", True),
        (b"HTTP/1.1 200 OK\r\n", False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 \r\n", True),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 No\r\n", False),
        (b"HTTP/1.1 1", None),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n", None),
    ],
)
def test_the_pods_answer_decides(answer: bytes, agreed: bool | None) -> None:  # noqa: FBT001 - a row
    """The first one that is no interim one; whole and byte by byte."""
    assert UpgradeAnswer().feed(answer) is agreed
    bytewise = UpgradeAnswer()
    found = [bytewise.feed(bytes([byte])) for byte in answer]
    assert next((one for one in found if one is not None), None) is agreed


def test_an_answer_that_is_none_agrees_to_nothing() -> None:
    """What another protocol says, and heads without end."""
    assert UpgradeAnswer().feed(b"SSH-2.0-OpenSSH_9.2\r\n") is False
    assert UpgradeAnswer().feed(b"HTTP/1.1 103 " + b"x" * MAX_HEAD) is False


def test_an_answer_may_follow_so_many_others() -> None:
    """Behind MAX_INTERIM of 100 or 103 it still agrees; one more is an answer that never comes."""
    interim, agreed = b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n"
    assert UpgradeAnswer().feed(interim * MAX_INTERIM + agreed) is True
    assert UpgradeAnswer().feed(interim * (MAX_INTERIM + 1) + agreed) is False


@pytest.mark.parametrize(
    ("protocols", "upgrade"),
    [("tcp", True), ("h2c", False), ("websocket, h2c", False), ("HTTP/2.0", False), ("", False)],
)
def test_what_hides_requests_is_not_let_through(protocols: str, upgrade: bool) -> None:  # noqa: FBT001 - a row
    """Of HTTP/2 every request has a Host of its own."""
    lines = f"Upgrade: {protocols}\r\n" if protocols else ""
    head = f"GET / HTTP/1.1\r\nHost: a.localhost\r\n{lines}\r\n".encode()
    assert parse_head(head).upgrade is upgrade


def test_a_thousand_small_requests_at_once_are_followed_in_one_go() -> None:
    """Nothing is copied for each: else one reader's 128 KiB would hold up everybody for seconds."""
    data = CHUNKED.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n" + GET * 1000
    assert followed(data, []) == (data, None)


def in_turns(data: bytes, steps: int) -> tuple[bytes, RequestError | None, int]:
    """What went on, what was refused, and in how many turns."""
    requests = Requests()
    passed, turns = requests.feed(data, steps), 1
    while requests.more:
        passed += requests.feed(b"", steps)
        turns += 1
    return passed, requests.refused, turns


@given(
    st.lists(st.sampled_from([*GOOD, OTHER, WEBSOCKET, b"\r\n", b"0\r\n\r\n", b"x"]), max_size=8), st.integers(1, 200)
)
def test_turns_change_nothing(pieces: list[bytes], steps: int) -> None:
    """However much is looked at in one turn, the same goes on, and the same is refused."""
    data = GET + b"".join(pieces)
    passed, refused, _ = in_turns(data, steps)
    at_once, error = followed(data, [])
    assert passed == at_once
    assert str(refused) == str(error)


@pytest.mark.parametrize(
    ("what", "least"),
    [
        (b"GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n" * 3000, 150),
        (CHUNKED.partition(b"5\r\n")[0] + b"1\r\na\r\n" * 20_000, 100),
        (CHUNKED.partition(b"5\r\n")[0] + b"0\r\n" + b"a:\r\n" * 30_000, 50),
    ],
)
def test_a_read_full_of_small_things_takes_many_turns(what: bytes, least: int) -> None:
    """Requests of one line, chunks of one byte, empty trailers: no turn looks at more than so many."""
    passed, refused, turns = in_turns(what, 512)
    assert (passed, refused) == (what, None)
    assert turns >= least


def test_what_the_pod_has_agreed_to_goes_on_whole() -> None:
    """A protocol that is opaque takes no steps, also where its first bytes came with the request."""
    requests = Requests()
    assert requests.feed(WEBSOCKET + b"\x81\x00" * 5000, 512) == WEBSOCKET
    passed = requests.upgraded(agreed=True, steps=1)
    while requests.more:
        passed += requests.feed(b"", 1)
    assert passed == b"\x81\x00" * 5000
    assert requests.feed(b"more", 1) == b"more"


@pytest.mark.parametrize("before", [b"\r\n", b"\r\n\r\n", 8 * b"\r\n"])
@pytest.mark.parametrize("cuts", [[], [1], [2, 3]])
def test_empty_lines_before_the_first_request(before: bytes, cuts: list[int]) -> None:
    """RFC 9112, 2.2: they are ignored. The pod does not get them, since many servers answer 400."""
    assert followed(before + GET + GET, cuts) == (GET + GET, None)


def test_empty_lines_between_requests() -> None:
    """They go on: what a pod makes of them is its own."""
    data = POST + b"\r\n" + GET + b"\r\n\r\n" + GET
    assert followed(data, []) == (data, None)


@pytest.mark.parametrize("before", [9 * b"\r\n", b"\n", b"\r\r\n", b" \r\n"])
def test_what_is_no_empty_line_before_a_request(before: bytes) -> None:
    """Too many of them, or other white space, is no HTTP."""
    passed, refused = followed(before + GET, [])
    assert passed == b""
    assert refused is not None


@pytest.mark.parametrize(
    "name", [b"Host", b"hOST", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"TE", b"Trailer"]
)
def test_a_trailer_that_would_be_taken_for_a_header(name: bytes) -> None:
    """A pod that merges trailers into headers is not told another Host, or another length."""
    passed, refused = followed(CHUNKED.replace(b"X-Sum: 1", name + b": db.localhost") + GET, [])
    assert refused is not None
    assert refused.status == 400
    assert b"db.localhost" not in passed


@pytest.mark.parametrize("fold", [b"\r\n ", b"\r\n\t", b"\r\n \r\n\t"])
@pytest.mark.parametrize("at", [b"Host: web.localhost", b"X: a", b"Content-Length: 3"])
def test_a_folded_line(fold: bytes, at: bytes) -> None:
    """RFC 9112, 5.2: obsolete, and read in more than one way. Refused wherever it stands."""
    head = b"POST / HTTP/1.1\r\nHost: web.localhost\r\nX: a\r\nContent-Length: 3\r\n\r\n"
    passed, refused = followed(head.replace(at, at + fold + b"b") + b"abc", [])
    assert passed == b""
    assert refused is not None
    assert refused.status == 400


def test_a_head_of_too_many_lines() -> None:
    """Each costs the parser its time: 431, as for one that is too long."""
    _, refused = followed(b"GET / HTTP/1.1\r\nHost: web.localhost\r\n" + b"a:\r\n" * 600 + b"\r\n", [])
    assert refused is not None
    assert refused.status == 431


def test_a_pod_that_never_answers_for_good() -> None:
    """Interim answers without end agree to nothing."""
    assert UpgradeAnswer().feed(b"HTTP/1.1 100 Continue\r\n\r\n" * 100) is False
