"""The gateway before pods in memory: where a connection goes, what it is told where it goes nowhere, how it ends."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from forwarders.gateway import gateway as module
from forwarders.gateway.gateway import HEAD_TIMEOUT, MAX_UNREAD, GatewayClient
from forwarders.gateway.head import MAX_HEAD
from tests.gateway.made import Street, get, nobody, pair, rest, street, wanted

CLOSE = "Connection: close"
WEBSOCKET = get("web.localhost", "/ws", "Connection: Upgrade", "Upgrade: websocket")


@pytest.fixture
async def shop() -> AsyncIterator[Street]:
    """web (http and metrics), db, api twice (in two namespaces)."""
    forwards = [
        wanted("web", 80, "http"),
        wanted("web", 9090, "metrics"),
        wanted("db", 5432),
        wanted("api", 80),
        wanted("api", 80, namespace="blog"),
    ]
    async with street(*forwards) as made:
        yield made


@pytest.mark.parametrize(
    ("host", "pod"),
    [
        ("web.localhost:8000", "web"),
        ("WEB.LocalHost.", "web"),
        ("web.shop.localhost", "web"),
        ("metrics.web.localhost", "web"),
        ("9090.web.shop.localhost", "web"),
        ("db.localhost", "db"),
        ("db.dev.example:1", "db"),
        ("api.blog.localhost", "api"),
    ],
)
async def test_a_name_leads_to_its_pod(shop: Street, host: str, pod: str) -> None:
    """Which gets every byte as it was sent, and alone."""
    request = get(host, "/", CLOSE)
    answer = await shop.ask(request)
    assert answer.endswith(pod.encode())
    assert {name: bytes(got) for name, got in shop.got.items() if got} == {pod: request}


@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        (get("nobody.localhost"), 404, b'<a href="http://api.blog.localhost:8000">'),
        (get("localhost"), 200, b'<a href="http://web.localhost:8000">'),
        (get("localhost:8000", "/any/path"), 200, b"<title>portside</title>"),
        (get("dev.example"), 200, b'<a href="http://web.localhost:8000">'),
        (get("api.localhost"), 300, b'<a href="http://api.shop.localhost:8000">'),
        (get("evil.example"), 421, b".localhost"),
        (get("127.0.0.1:8000"), 421, b".localhost"),
        (get("[::1]"), 421, b".localhost"),
        (get("web.localhost.evil.example"), 421, b".localhost"),
        (get("weblocalhost"), 421, b".localhost"),
        (get("a.localhost", "/", "Host: b.localhost"), 400, b"multiple Host"),
        (get("web.localhost", "/", "X: " + "a" * MAX_HEAD), 431, b"64 KiB"),
        (get("web.localhost").replace(b"/ ", b"http://db.localhost/ "), 400, b"target"),
    ],
)
async def test_what_leads_nowhere_is_told(shop: Street, request_: bytes, status: int, says: bytes) -> None:
    """By a page of ours, that runs no script, with the names there are; no pod sees anything."""
    answer = await shop.ask(request_)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert says in answer
    assert b"default-src 'none'" in answer
    assert not any(shop.got.values())


async def test_a_client_that_pipelines_a_read_full_of_requests(shop: Street) -> None:
    """128 KiB of requests of one line: others have a turn every few of them, and all are answered."""
    few = get("web.localhost") * 16
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    ours, theirs = pair()
    client = GatewayClient(theirs)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, few * 100)
        assert await client.first_request() is not None
        nursery.start_soon(take_turns)
        passed = b""
        while len(passed) < len(few) * 100:
            data = await client.receive()
            assert len(data) <= len(few) + 1
            passed += data
        assert turns > 40
        nursery.cancel_scope.cancel()
    assert passed == few * 100
    client.close()
    await ours.aclose()


async def test_head_gets_no_body(shop: Street) -> None:
    """But the length of what GET would."""
    answer = await shop.ask(get("nobody.localhost").replace(b"GET", b"HEAD"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    assert b"Content-Length: 0" not in head
    assert body == b""


@pytest.mark.parametrize(
    "hello", [b"\x16\x03\x01\x02\x00\x01\x00", b"SSH-2.0-OpenSSH_9.2\r\n", b"PRI * HTTP/2.0\r\n\r\n"]
)
async def test_what_is_not_http_is_closed(shop: Street, hello: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Without an answer; the log says what is spoken here, without being asked for more."""
    assert await shop.ask(hello) == b""
    [record] = [record for record in caplog.records if record.name == "portside.gateway"]
    assert record.levelno == logging.WARNING
    assert "does not speak HTTP/1" in record.getMessage()
    assert not any(shop.got.values())


async def test_nothing_can_serve_in_time() -> None:
    """A 503 says what was waited for."""
    async with street(nobody(wanted("web", 80), "pod web-1 is Pending: no node <has> room", hold=0.1)) as made:
        answer = await made.ask(get("web.localhost"))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"pod web-1 is Pending: no node &lt;has&gt; room" in answer
    assert b"Retry-After: 1" in answer


async def test_a_request_is_held_until_a_pod_can_serve() -> None:
    """And then it gets there whole, sent once."""
    one = wanted("web", 80)
    async with street(nobody(one, "no pod")) as made, await made.connect() as client:
        await client.send_all(get("web.localhost"))
        await trio.testing.wait_all_tasks_blocked(0.05)
        made.fleet.update(one.id, one.endpoints)
        assert (await client.receive_some()).endswith(b"web")
        assert made.got["web"] == get("web.localhost")


async def test_another_host_on_the_connection(shop: Street) -> None:
    """Of a kept connection: the first answers come, the second pod gets nothing, the first nothing of the second."""
    request = get("web.localhost")
    answer = await shop.ask(request + request + get("db.localhost", "/secret") + request)
    assert answer.count(b"200") == 2
    assert bytes(shop.got["web"]) == request + request
    assert not shop.got["db"]


async def test_another_host_after_the_answer(shop: Street) -> None:
    """As proxies with pools do it: it ends at once, so that they try again on a connection of its own."""
    async with await shop.connect() as client:
        await client.send_all(get("web.localhost"))
        await client.receive_some()
        await client.send_all(get("db.localhost"))
        with trio.fail_after(HEAD_TIMEOUT / 2):
            assert await rest(client) == b""
    assert not shop.got["db"]


async def test_a_websocket_is_relayed_unchanged(shop: Street) -> None:
    """Whatever its frames look like, also what came before the pod had agreed."""
    async with await shop.connect() as client:
        await client.send_all(WEBSOCKET + b"early")
        answer = b""
        while not answer.endswith(b"early"):
            answer += await client.receive_some()
        assert answer.startswith(b"HTTP/1.1 101 ")
        frame = get("db.localhost", "/secret")
        await client.send_all(frame)
        assert await client.receive_some() == frame
    assert not shop.got["db"]


async def test_a_client_that_leaves_before_the_pod_agrees(shop: Street) -> None:
    """Is noticed: the pod's end is told."""
    async with await shop.connect() as client:
        await client.send_all(get("web.localhost", "/hold", "Connection: Upgrade", "Upgrade: websocket"))
        with trio.fail_after(60):
            while b"/hold" not in shop.got["web"]:
                await trio.testing.wait_all_tasks_blocked(0.01)
    with trio.fail_after(60):
        while shop.fleet.counters()["service/shop/web/80"].connections:
            await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a_slow_head_is_not_waited_for(shop: Street, autojump_clock: trio.testing.MockClock) -> None:
    """Ten seconds from the beginning, however often a byte comes."""
    began = trio.current_time()
    async with await shop.connect() as silent, await shop.connect() as slow:
        await slow.send_all(b"GET / HT")
        assert await silent.receive_some() == b""
        assert trio.current_time() - began == pytest.approx(HEAD_TIMEOUT, abs=0.5)
        assert await rest(slow) == b""


async def test_more_slow_heads_than_are_waited_for(shop: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cost the oldest of them its place, and no one else anything."""
    monkeypatch.setattr(module, "MAX_UNREAD", 10)
    slow = [await shop.connect() for _ in range(30)]
    for client in slow:
        await client.send_all(b"GET / HTTP/1.1\r\nX: " + b"a" * 1000)
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert (await shop.ask(get("web.localhost", "/", CLOSE))).endswith(b"web")
    for client in slow[:20]:
        assert await rest(client) == b""
    await slow[-1].send_all(b"\r\nHost: web.localhost\r\n\r\n")
    assert (await slow[-1].receive_some()).endswith(b"web")
    for client in slow:
        await client.aclose()


async def test_a_forward_that_stops_cuts_its_own_connections(shop: Street) -> None:
    """Another forward's go on; the name leads nowhere until the plan says so."""
    async with await shop.connect() as web, await shop.connect() as db:
        for client, host in ((web, "web.localhost"), (db, "db.localhost")):
            await client.send_all(get(host))
            assert b"200" in await client.receive_some()
        await shop.fleet.stop("service/shop/web/80")
        with pytest.raises(trio.BrokenResourceError):
            await web.receive_some()
        await db.send_all(get("db.localhost"))
        assert b"200" in await db.receive_some()
    assert (await shop.ask(get("web.localhost"))).startswith(b"HTTP/1.1 503 ")


async def test_cancellation_leaves_nothing_open(recwarn: pytest.WarningsRecorder) -> None:
    """With a head that is awaited, a connection that is held, one that is served and a page that nobody reads."""
    async with street(wanted("web", 80), nobody(wanted("db", 80), "no pod")) as made:
        clients = [await made.connect() for _ in range(4)]
        for client, data in zip(
            clients, (b"GET", get("db.localhost"), get("web.localhost"), get("nobody.localhost")), strict=True
        ):
            await client.send_all(data)
        await trio.testing.wait_all_tasks_blocked(0.05)
    for client in clients:
        async with client:
            await rest(client)
    assert not [warning for warning in recwarn if issubclass(warning.category, ResourceWarning)]


def test_the_bound_is_above_what_must_be_borne() -> None:
    """A thousand slow heads at once leave each other alone too; 64 MiB are their most."""
    assert MAX_UNREAD > 1000
    assert MAX_UNREAD * MAX_HEAD <= 64 << 20
