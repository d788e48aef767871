"""The actions of the status address: who may use them, the results of a test, and of a retry."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trio

from forwarders.spec import Counts
from tests.board.made import confirmed_at_once, forward, plan, skaffold, skip
from tests.status.made import served
from tests.status.test_guard import EVERYWHERE, TOKEN
from watcher.board import actions
from watcher.board.actions import probe_forward
from watcher.board.board import Board
from watcher.board.changes import FOR_EACH, OVERALL, REMEMBERED
from watcher.board.http import server
from watcher.board.http.routes import Routes
from watcher.board.records import ForwardRecord

OURS = {"X-Portside": "1"}
Answer = Callable[[trio.SocketStream], Awaitable[None]]


def path(what: str, record: ForwardRecord, **query: str) -> str:
    more = "".join(f"&{name}={quote(value)}" for name, value in query.items())
    return f"/v1/{what}?id={quote(record.id)}{more}"


@asynccontextmanager
async def application(answer: Answer) -> AsyncIterator[ForwardRecord]:
    """A ready forward whose port is an application that answers so."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        yield forward(local_port=port, url=f"http://127.0.0.1:{port}")
        nursery.cancel_scope.cancel()


async def says_http(stream: trio.SocketStream) -> None:
    asked = await stream.receive_some()
    assert asked.startswith(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:")
    await stream.send_all(b"HTTP/1.1 503 Service ")
    await stream.send_all(b"Unavailable\r\n\r\n")


async def says_hello(stream: trio.SocketStream) -> None:
    await stream.send_all(b"220 mail\n")
    await trio.sleep_forever()


async def says_nothing(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def leaves(stream: trio.SocketStream) -> None:
    await stream.send_eof()


async def result(board: Board, target: str) -> dict[str, Any]:
    async with served(board) as client:
        answer = await client.post(target, headers=OURS)
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        assert found["seconds"] < 30
        return found


@pytest.mark.parametrize(
    ("answer", "asked", "ok", "line", "reason"),
    [
        (says_http, "/health", True, "HTTP/1.1 503 Service Unavailable", ""),
        (says_hello, "/health", False, "220 mail", "this is not HTTP"),
        (says_hello, "", True, "the pod sent 9 bytes", ""),
        (says_nothing, "", True, "connected", ""),
        (leaves, "", False, "", "the connection was closed without an answer"),
    ],
)
async def test_one_connection(answer: Answer, asked: str, ok: bool, line: str, reason: str) -> None:  # noqa: FBT001
    """A GET returns the first line of the response; without a path silence is a success."""
    board = Board(confirming=confirmed_at_once)
    async with application(answer) as record:
        board.publish(record)
        found = await result(board, path("test", record, **({"path": asked} if asked else {})))
    assert (found["ok"], found["answer"], found["reason"]) == (ok, line, reason)
    assert found["what"] == ("get" if asked else "connect")


async def test_the_runtimes_refusal_is_the_answer() -> None:
    """A waiting connection has not reached the pod; the result has the forward's reason."""
    refused = "nothing listens on 8080 in pod web-6c: connection refused"
    counts = Counts(since=datetime.now(UTC), connections=1, held=1)
    async with application(says_nothing) as record:
        board = Board(counters=lambda: {record.id: counts}, confirming=confirmed_at_once)
        board.publish(forward(local_port=record.local_port, url=record.url, reason=f"{refused}; 1 connection waits"))
        found = await result(board, path("test", record))
    assert (found["ok"], found["reason"]) == (False, refused)


class Runtime:
    """A runtime that confirms a connection after so many seconds, or never."""

    def __init__(self, after: float) -> None:
        self.after = after
        self.clients: list[int] = []

    @contextmanager
    def confirming(self, _ident: str, client_port: int, confirmed: Callable[[], None]) -> Iterator[None]:
        self.clients.append(client_port)
        scope = trio.CancelScope()

        async def confirm() -> None:
            with scope:
                await trio.sleep(self.after)
                confirmed()
                confirmed()  # the next dial's confirmation means nothing new

        trio.lowlevel.spawn_system_task(confirm)
        try:
            yield
        finally:
            scope.cancel()


@pytest.mark.parametrize(
    ("after", "ok", "answer", "reason"),
    [
        (0.0, True, "connected", ""),
        (0.3, True, "connected", ""),
        (math.inf, False, "", "the container runtime did not confirm the connection within 0.6 s"),
    ],
)
async def test_silence_is_a_success_once_the_runtime_has_the_connection(
    monkeypatch: pytest.MonkeyPatch,
    after: float,
    ok: bool,  # noqa: FBT001
    answer: str,
    reason: str,
) -> None:
    """Before that it proves nothing, however long it lasts."""
    monkeypatch.setattr(actions, "CONFIRMED_WITHIN", 0.6)
    monkeypatch.setattr(actions, "REFUSED_WITHIN", 0.1)
    runtime = Runtime(after)
    peers: list[int] = []

    async def silent(stream: trio.SocketStream) -> None:
        peers.append(stream.socket.getpeername()[1])
        await trio.sleep_forever()

    board = Board(confirming=runtime.confirming)
    async with application(silent) as record:
        board.publish(record)
        found = await probe_forward(board, record)
    assert (found.ok, found.answer, found.reason) == (ok, answer, reason)
    assert runtime.clients == peers


async def test_what_is_not_ready_is_not_tried() -> None:
    """The result has its state; a connection would only wait."""
    board = Board()
    board.publish(forward(state="listening", reason="no pod"))
    found = await result(board, path("test", forward()))
    assert (found["ok"], found["reason"]) == (False, "it is listening: no pod")


@pytest.mark.parametrize("asked", ["health", "/a b", "/\r\nX: y", "/ü"])
async def test_a_path_is_one_line(asked: str) -> None:
    """Nothing else gets into the request."""
    board = Board()
    board.publish(forward())
    async with served(board) as client:
        assert (await client.post(path("test", forward(), path=asked), headers=OURS)).status_code == 400


@pytest.mark.parametrize(("problem", "retried"), [("", True), ("it is ready", False)])
async def test_a_retry(problem: str, retried: bool) -> None:  # noqa: FBT001
    """The response has the loop's answer."""
    asked: list[str] = []

    def retry(ident: str) -> str:
        asked.append(ident)
        return problem

    board = Board(retry=retry)
    board.publish(forward(state="failed"))
    async with served(board) as client:
        answer = await client.post(path("retry", forward()), headers=OURS)
        assert answer.json() == {"kind": "retry", "id": forward().id, "retried": retried, "reason": problem}
        assert (await client.post("/v1/retry?id=x", headers=OURS)).status_code == 404
        assert (await client.post("/v1/test?id=x", headers=OURS)).status_code == 404
    assert asked == [forward().id]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Portside": ""},
        {**OURS, "Origin": "http://evil.example"},
        {**OURS, "Origin": "http://127.0.0.1:1"},
        {**OURS, "Origin": "null"},
        {**OURS, "Sec-Fetch-Site": "same-site"},
        {**OURS, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
@pytest.mark.parametrize("target", sorted(server.ACTIONS))
async def test_a_page_of_another_site_changes_nothing(target: str, headers: dict[str, str]) -> None:
    """Not by a form, which can send no header of ours, and not by a script, which has another origin."""
    board = Board(retry=lambda _: pytest.fail("it was tried"))
    board.publish(forward(state="failed"))
    async with served(board) as client:
        answer = await client.post(f"{target}?id={quote(forward().id)}", headers=headers)
        assert answer.status_code == 403


async def test_the_page_itself_may() -> None:
    """Its Origin matches the Host, by name or by number."""
    board = Board(retry=lambda _: "")
    board.publish(forward(state="failed"))
    async with served(board) as client:
        for host in (f"localhost:{client.base_url.port}", f"127.0.0.1:{client.base_url.port}"):
            given = OURS | {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
            assert (await client.post(path("retry", forward()), headers=given)).status_code == 200


async def test_beyond_loopback_it_needs_the_token() -> None:
    """Without one nothing can be changed there at all; with one, the same rules as for reading."""
    board = Board(retry=lambda _: "")
    board.publish(forward(state="failed"))
    target = path("retry", forward())
    async with served(board, EVERYWHERE) as client:
        refused = await client.post(target, headers=OURS)
        assert (refused.status_code, "needs a token" in refused.text) == (403, True)
    async with served(board, EVERYWHERE, token=TOKEN) as client:
        assert (await client.post(target, headers=OURS)).status_code == 401
        assert (await client.post(target, headers=OURS | {"Authorization": "Bearer x"})).status_code == 401
        assert (await client.post(target, headers=OURS | {"Authorization": f"Bearer {TOKEN}"})).status_code == 200
        assert (await client.post(target, headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 403


async def test_an_action_is_a_post() -> None:
    """GET, HEAD and whatever else changes nothing; the guard and the routes mean the same paths."""
    assert {*Routes(Board()).actions} == server.ACTIONS
    async with served(Board()) as client:
        for target in server.ACTIONS:
            for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
                answer = await client.request(method, target, headers=OURS)
                assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def changes(client: httpx.AsyncClient, query: str = "") -> list[tuple[str, str]]:
    told = (await client.get(f"/v1/changes{query}")).json()
    return [(one["kind"], one.get("state") or one.get("phase") or one["reason"]) for one in told]


async def test_the_last_changes() -> None:
    """Newest first, of everything or of one forward, without plan records."""
    board = Board()
    for record in (skaffold(), plan(), forward(state="listening"), forward("api"), forward(), skip(reason="udp")):
        board.publish(record)
    board.publish(forward(state="stopped"))
    async with served(board) as client:
        told = await changes(client)
        assert told[:2] == [("forward", "stopped"), ("skip", "udp")]
        assert told[-1] == ("skaffold", "idle")
        ours = await changes(client, f"?id={quote(forward().id)}")
        assert [state for _, state in ours] == ["stopped", "ready", "listening"]
        assert await changes(client, "?id=nothing") == []


def test_a_history_is_bounded() -> None:
    """However long a run lasts; a forward that changed recently keeps its own."""
    board = Board()
    for number in range(REMEMBERED + 5):
        board.publish(forward(f"s{number}"))
        board.publish(forward("web", reason=f"{number}"))
    assert len(board.history.last()) == OVERALL
    assert len(board.history.last(forward("web").id)) == FOR_EACH
    assert board.history.last(forward("s0").id) == []
    assert board.history.last(forward(f"s{REMEMBERED}").id) == [forward(f"s{REMEMBERED}")]
