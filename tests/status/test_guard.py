"""Which requests are refused, by Host, method, origin and token: real attacks over real sockets."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.board.made import forward
from tests.status.made import ask, port_of, served
from watcher.board.addresses import Address
from watcher.board.board import Board
from watcher.board.http import StatusRequest
from watcher.board.http.server import HEADERS, Guard

TOKEN = "a-token-that-nobody-guesses"
EVERYWHERE = Address("0.0.0.0", 0)


def question(target: str = "/v1/forwards", *headers: tuple[str, str], local: str = "127.0.0.1") -> StatusRequest:
    return StatusRequest("GET", target, headers, (local, 8080))


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "", "localhost.", "localhost.evil"),
        *("127.0.0.1@evil.example", "evil.example@127.0.0.1", "localhost, evil.example", "localhost/evil", "[::1"),
        *("[127.0.0.1]", "0x7f000001", "2130706433", "127.1", "localhost:99999999", "[::1]:80:80", "local host"),
    ],
)
async def test_a_web_page_elsewhere_finds_nothing(host: str) -> None:
    """A foreign Host is DNS rebinding or an attack on the parser, and is refused."""
    async with served(Board()) as client:
        answer = await ask(client, f"GET /v1/forwards HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    if host == "[127.0.0.1]":  # the brackets say nothing that the address does not
        assert answer.startswith(b"HTTP/1.1 200 ")
    else:
        assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LocalHost:1", "[::1]:80", "[0:0:0:0:0:0:0:1]", "127.0.0.1:"]
)
async def test_this_machines_own_names(host: str) -> None:
    """With any port, because a tunnel may be in between."""
    async with served(Board()) as client:
        assert (await client.get("/v1/forwards", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "start",
    [
        b"GET http://evil.example/v1/forwards HTTP/1.1\r\nHost: localhost\r\n",
        b"GET http://localhost/v1/forwards HTTP/1.1\r\nHost: localhost\r\n",
        b"GET /v1/forwards HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n",
        b"GET /v1/forwards HTTP/1.1\r\n",
        b"GET /v1/forwards HTTP/1.0\r\n",
        b"GET v1/forwards HTTP/1.1\r\nHost: localhost\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n",
    ],
)
async def test_odd_targets_and_hosts(start: bytes) -> None:
    """An absolute target, two Hosts or none: 400, without any state."""
    board = Board()
    board.publish(forward())
    async with served(board) as client:
        answer = await ask(client, start + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert forward().id.encode() not in answer


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/forwards", "/v1/events"])
async def test_nothing_can_be_changed(method: str, path: str) -> None:
    """Only GET and its HEAD are answered."""
    async with served(Board()) as client:
        answer = await client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/forwards", "/v1/events", "/metrics"])
async def test_a_head_has_no_body(path: str) -> None:
    """The headers of GET without its body."""
    async with served(Board()) as client:
        answer = await client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


async def test_a_large_body_is_not_waited_for() -> None:
    """The refusal arrives complete although the body was not read."""
    async with served(Board()) as client:
        assert (await client.post("/v1/forwards", content=b"x" * 1_000_000)).status_code == 405


@pytest.mark.parametrize("path", ["/", "/page.js", "/v1/forwards", "/nowhere", "/readyz"])
async def test_every_answer_keeps_browsers_careful(path: str) -> None:
    """Refusals too: nothing loaded from elsewhere, guessed, kept, or framed."""
    async with served(Board()) as client:
        for answer in (await client.get(path), await client.get(path, headers={"Host": "evil.example"})):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            for name, value in HEADERS:
                if name != "Content-Security-Policy":
                    assert answer.headers[name] == value


@pytest.mark.parametrize(
    ("site", "mode", "code"),
    [
        ("none", "navigate", 200),
        ("same-origin", "cors", 200),
        ("cross-site", "navigate", 200),
        ("cross-site", "no-cors", 403),
        ("same-site", "cors", 403),
        ("same-site", "no-cors", 403),
    ],
)
async def test_pages_of_other_sites_may_link_and_nothing_else(site: str, mode: str, code: int) -> None:
    """A forwarded application on another port of localhost is such another page (Fetch Metadata)."""
    async with served(Board()) as client:
        answer = await client.get("/v1/forwards", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode})
        assert answer.status_code == code


async def test_beyond_loopback_a_token_is_asked_for() -> None:
    """In a header. Only /healthz and /readyz need none."""
    async with served(Board(), EVERYWHERE, token=TOKEN) as client:
        for path in ("/", "/v1/forwards", "/v1/events", "/v1/explain", "/metrics", "/page.js", "/nowhere"):
            refused = await client.get(path)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        for scheme in ("Bearer", "bearer"):
            right = await client.get("/v1/forwards", headers={"Authorization": f"{scheme} {TOKEN}"})
            assert right.status_code == 200
        for wrong in ("", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer \xe9"):
            answer = await client.get("/v1/forwards", headers=[(b"Authorization", wrong.encode("latin-1"))])
            assert answer.status_code == 401


async def test_a_browser_comes_in_once_by_a_link() -> None:
    """The link sets an HttpOnly, SameSite cookie that is not the token, and redirects to /."""
    async with served(Board(), EVERYWHERE, token=TOKEN) as client:
        assert (await client.get("/", params={"token": "wrong"})).status_code == 401
        assert (await client.get("/v1/forwards", params={"token": TOKEN})).status_code == 401
        entered = await client.get("/", params={"token": TOKEN})
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        cookie = entered.headers["set-cookie"]
        assert cookie.startswith(f"portside-{port_of(client)}=")
        assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
        assert TOKEN not in cookie
        assert (await client.get("/v1/forwards")).status_code == 200
        client.cookies.clear()
        for forged in (f"portside-{port_of(client)}={TOKEN}", f"portside-{port_of(client)}=", "portside=x", "=;=\x7f"):
            assert (await client.get("/v1/forwards", headers={"Cookie": forged})).status_code == 401


async def test_bound_elsewhere_its_own_names_are_right() -> None:
    """Hosts may be the connection's own address and the machine's name, not others."""
    hosts = {"127.0.0.1": 200, "localhost": 200, socket.gethostname(): 400, "evil.example": 400, "10.9.8.7": 400}
    async with served(Board(), EVERYWHERE, token=TOKEN) as client:
        for host, code in hosts.items():
            headers = {"Host": host, "Authorization": f"Bearer {TOKEN}"}
            assert (host, (await client.get("/v1/forwards", headers=headers)).status_code) == (host, code)
    guard = Guard()
    for host in ("192.0.2.7:8080", socket.gethostname().upper(), "localhost"):
        assert guard.refusal(question("/", ("host", host), local="192.0.2.7")) is None
        assert guard.refusal(question("/", ("host", host), local="::ffff:192.0.2.7")) is None
    assert guard.refusal(question("/", ("host", "192.0.2.8"), local="192.0.2.7")) is not None


@given(st.text(), st.text(), st.text())
def test_whatever_is_sent_there_is_an_answer(host: str, cookie: str, target: str) -> None:
    """No text makes the guard fail, and none but the right one lets in."""
    headers = (("host", "localhost"), ("cookie", cookie), ("authorization", host))
    refusal = Guard(TOKEN).refusal(question("/v1/forwards?" + target, *headers))
    assert refusal is not None
    assert refusal.status == 401
    Guard().refusal(question(target, ("host", host)))


async def test_what_is_no_http_gets_a_plain_answer() -> None:
    """TLS, an endless header, garbage: 400 or more, no trace of ours in any log."""
    async with served(Board()) as client:
        for garbage in (
            b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
            b"GET / HTTP/1.1\r\nx: " + b"y" * 40_000,
            b"\r\n\r\n \r\n\r\n",
        ):
            try:
                assert (await ask(client, garbage)).startswith(b"HTTP/1.1 4")
            except OSError:
                pytest.fail("reset before it was read")
        assert (await client.get("/healthz")).status_code == 200


async def test_a_websocket_is_no_way_around() -> None:
    """Browsers let other sites open WebSockets; an upgrade request is refused like any other."""
    upgrade = b"GET /v1/events HTTP/1.1\r\nHost: evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with served(Board()) as client:
        assert (await ask(client, upgrade)).startswith(b"HTTP/1.1 400 ")
