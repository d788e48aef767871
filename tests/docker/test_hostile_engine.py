"""A Docker engine (DOCKER_HOST may be on another machine) that answers nonsense: a problem in words, within bounds."""

from __future__ import annotations

import gzip
from contextlib import suppress
from random import Random

import httpx
import pytest
import trio
from trio.testing import MockClock

from watcher.docker import containers
from watcher.docker.containers import ContainerWatch
from watcher.docker.daemon import Daemon

BOMB = gzip.compress(gzip.compress(b"[" + b" " * 50_000_000 + b"]"))


def answer(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (answer(BOMB, "Content-Encoding: gzip, gzip"), "content coding that was not requested"),
        (answer(b"[" + b" " * 2_000_000 + b"]"), "more than 1 MiB"),
        (answer(b'[{"Id":"a","Other":' + b"[" * 100_000), "does not answer"),
        (answer(b"\xff\xfe"), "does not answer"),
        (answer(b'[{"Id":5}]'), "Expected `str`, got `int`"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "HTTP status 500"),
        (b"nonsense\r\n\r\n", "does not answer"),
        (b"", "does not answer"),
    ],
)
# httpcore does not close its generators where an answer is left before its end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_what_an_engine_answers_costs_a_line(
    listed: bytes, said: str, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exception passes, nothing is unpacked, and the watch goes on."""
    monkeypatch.setattr(containers, "MAX_BODY", 1 << 20)
    requests: list[bytes] = []

    async def engine(stream: trio.SocketStream) -> None:
        head = await stream.receive_some(65536)
        requests.append(head)
        if b"/events" in head:
            await stream.send_all(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nTransfer-Encoding: chunked\r\n\r\n")
            await trio.sleep_forever()
        with suppress(trio.BrokenResourceError):
            await stream.send_all(listed)
        await stream.aclose()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, engine, listeners)
    changed = trio.Event()
    port = listeners[0].socket.getsockname()[1]
    watched = ContainerWatch(Daemon(url=f"http://127.0.0.1:{port}"), changed.set, Random(0))
    nursery.start_soon(watched.run)
    with trio.fail_after(60):
        await changed.wait()
    assert said in watched.snapshot.problem
    assert not watched.snapshot.synced
    assert not any(b"Cookie:" in head for head in requests)
    nursery.cancel_scope.cancel()


async def test_an_engine_that_never_answers_is_a_problem_in_words(
    autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the request for its events and is silent: the user reads why nothing is listed."""

    async def silent(request: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    client = httpx.AsyncClient(transport=httpx.MockTransport(silent), base_url="http://engine")
    monkeypatch.setattr(containers, "client_of", lambda _: client)
    changed = trio.Event()
    watched = ContainerWatch(Daemon(url="http://engine"), changed.set, Random(0))
    nursery.start_soon(watched.run)
    with trio.fail_after(100):
        await changed.wait()
    assert "GET /events was not answered within 10 s" in watched.snapshot.problem
    nursery.cancel_scope.cancel()
