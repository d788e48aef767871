"""What an API server, or whoever answers in its place, can make us keep, do and wait for: all of it has an end."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.cluster_client.memory_api import SERVER, event, pod
from tests.cluster_client.test_client import CHUNKED, PODS, answering, chunk, whole
from watcher.cluster import api_client as requests
from watcher.cluster import network
from watcher.cluster.api_client import ApiClient
from watcher.cluster.kinds import POD
from watcher.errors import ApiError, ApiUnreachableError, ClusterError, MalformedError

ZEROS = bytes(50_000_000)


async def read(client: ApiClient, verb: str) -> None:
    """A list, or a watch until its end."""
    if verb == "list":
        await client.list(PODS)
        return
    async with client.watch(PODS, "1", 300) as stream:
        async for _ in stream:
            pass


@pytest.mark.parametrize("verb", ["list", "watch"])
@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip,GZIP", "br", "deflate", "gzip, br", "zstd", "x" * 10_000])
async def test_content_codings_that_were_not_asked_for_are_refused(verb: str, coding: str) -> None:
    """Before a byte is unpacked: 3 kB of `gzip, gzip` are gigabytes."""
    bomb = gzip.compress(gzip.compress(ZEROS))

    async def answer(stream: trio.SocketStream, head: str) -> None:
        await stream.send_all(whole(bomb, f"Content-Encoding: {coding}"))

    async with answering(answer) as client:
        with pytest.raises(MalformedError, match=r"content coding .*only gzip was asked for") as raised:
            await read(client, verb)
    assert len(str(raised.value)) < 300


async def test_a_list_is_unpacked_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb is given up where the bound is reached, long before its end."""
    monkeypatch.setattr(requests, "MAX_BODY", 1_000_000)
    bomb = gzip.compress(ZEROS)

    async def answer(stream: trio.SocketStream, head: str) -> None:
        await stream.send_all(whole(bomb, "Content-Encoding: gzip"))

    async with answering(answer) as client:
        with pytest.raises(MalformedError, match="longer than"):
            await client.list(PODS)


async def test_a_compressed_watch_is_read_within_its_bound_and_cancelled_at_once() -> None:
    """A line without end, compressed: an error at the bound of a line; a cancellation comes through before."""
    bomb = gzip.compress(ZEROS)

    async def answer(stream: trio.SocketStream, head: str) -> None:
        await stream.send_all(whole(bomb, "Content-Encoding: gzip"))

    async with answering(answer) as client:
        with pytest.raises(MalformedError, match="watch event longer than 4 MiB"):
            await read(client, "watch")
        async with client.watch(PODS, "1", 300) as stream:
            with trio.CancelScope() as scope:
                await anext(stream)
                scope.cancel()
                async for _ in stream:
                    pytest.fail("it went on")


async def test_a_watch_may_come_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it was asked not to: some proxies do."""
    monkeypatch.setattr(network, "PIECE", 7)

    async def answer(stream: trio.SocketStream, head: str) -> None:
        packed = gzip.compress(event("ADDED", pod("a", 11)) * 3)
        await stream.send_all(CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n"))
        for at in range(0, len(packed), 10):
            await stream.send_all(chunk(packed[at : at + 10]))
        await stream.send_all(b"0\r\n\r\n")

    names = []
    async with answering(answer) as client, client.watch(PODS, "1", 300) as stream:
        async for events in stream:
            names += [one.object.metadata.name for one in events]
    assert names == ["a"] * 3


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b"{}" * 1000)[:-9]])
async def test_compressed_data_that_is_broken_is_one_error(body: bytes) -> None:
    """Wrong from the beginning, or cut short by a proxy."""

    async def answer(stream: trio.SocketStream, head: str) -> None:
        await stream.send_all(whole(body, "Content-Encoding: gzip"))

    async with answering(answer) as client:
        with pytest.raises(MalformedError, match=r"cannot be unpacked|ends in the middle"):
            await client.server_version()


class Pages(httpx.AsyncBaseTransport):
    """Lists whose pages go on: `token` makes the next continue token of a number."""

    def __init__(self, tokens: Any, **more: Any) -> None:
        self.tokens, self.more, self.asked = tokens, more, 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        self.asked += 1
        page = {"metadata": {"continue": self.tokens(self.asked)} | self.more, "items": [pod("a")]}
        return httpx.Response(200, stream=httpx.ByteStream(json.dumps(page).encode()))


async def test_a_list_that_never_ends_is_given_up() -> None:
    """By the same token at once, by ever new ones after a bound, by size at a third."""
    endless = (str, "does not end within 1000 pages", 1000)
    for tokens, said, most in ((lambda _: "same", "same page repeatedly", 2), endless):
        api = Pages(tokens)
        async with ApiClient(SERVER, api) as client:
            with pytest.raises(MalformedError, match=said):
                await client.list(PODS)
        assert api.asked == most


async def test_all_pages_of_a_list_share_one_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that are each small enough are no way around it."""
    monkeypatch.setattr(requests, "MAX_BODY", 100_000)
    api = Pages(str, padding="x" * 10_000)
    async with ApiClient(SERVER, api) as client:
        with pytest.raises(MalformedError, match="longer than"):
            await client.list(PODS)
    assert api.asked < 12


async def test_no_cookie_is_kept() -> None:
    """Set-Cookie in every answer, with a new name each time: no request has a Cookie."""
    heads: list[str] = []

    async def answer(stream: trio.SocketStream, head: str) -> None:
        heads.append(head.lower())
        cookies = [f"Set-Cookie: c{len(heads)}-{number}=v; Path=/" for number in range(50)]
        await stream.send_all(whole(b'{"gitVersion":"v1"}', *cookies))

    async with answering(answer) as client:
        for _ in range(5):
            await client.server_version()
        assert not client._http.cookies
    assert not any("\r\ncookie:" in head for head in heads)


async def test_no_redirect_is_followed() -> None:
    """Neither elsewhere, which would get our token, nor in a circle."""
    asked = 0

    async def answer(stream: trio.SocketStream, head: str) -> None:
        nonlocal asked
        asked += 1
        head = "HTTP/1.1 307 Temporary Redirect\r\nLocation: /version\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        await stream.send_all(head.encode())

    async with answering(answer) as client:
        with pytest.raises(ApiError, match="HTTP status 307"):
            await client.server_version()
    assert asked == 1


class Endless(httpx.AsyncBaseTransport):
    """Takes the request and never ends its answer's head."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError


async def test_an_answers_head_has_a_deadline(autojump_clock: MockClock) -> None:
    """However it is dripped, informational answers included."""
    async with ApiClient(SERVER, Endless()) as client:
        began = trio.current_time()
        with pytest.raises(ApiUnreachableError, match="did not answer within 65 s"):
            await client.get(POD, "shop", "web")
        assert trio.current_time() - began == requests.HEAD_WITHIN


@pytest.mark.parametrize("drip", [b"HTTP/1.1 100 Continue\r\n\r\n", b"X-A: b\r\n"], ids=["1xx", "headers"])
async def test_heads_without_end_are_bounded(monkeypatch: pytest.MonkeyPatch, drip: bytes) -> None:
    """Over a real socket: by time, or by size where they come fast."""
    monkeypatch.setattr(requests, "HEAD_WITHIN", 1.0)

    async def answer(stream: trio.SocketStream, head: str) -> None:
        if drip.startswith(b"X"):
            await stream.send_all(b"HTTP/1.1 200 OK\r\n")
        for _ in range(200):
            await stream.send_all(drip)
            await trio.sleep(0.05)

    async with answering(answer) as client:
        with trio.fail_after(60), pytest.raises(ApiUnreachableError, match="did not answer within 1 s"):
            await client.server_version()


async def test_a_watch_whose_line_never_ends_is_left_at_once_when_cancelled() -> None:
    """As SIGTERM does it: bytes that keep coming keep nobody."""

    async def answer(stream: trio.SocketStream, head: str) -> None:
        await stream.send_all(CHUNKED)
        while True:
            await stream.send_all(chunk(b"x" * 100))

    async with answering(answer) as client:
        with trio.fail_after(60), trio.move_on_after(0.2), pytest.raises(ClusterError):
            await read(client, "watch")


async def test_impersonation_is_on_every_request(tmp_path: Any) -> None:
    """As kubectl's: user, uid, each group, each value of the extras, with their names escaped."""
    from tests.cluster_client.test_credentials import KEEP, loaded  # noqa: PLC0415 - needed here alone

    user = {"token": "t", "as": "ann", "as-uid": "7", "as-groups": ["a", "b"], "as-user-extra": {"x/y%": ["1", "2"]}}
    config = await loaded(tmp_path, user)
    headers = await config.server.authorize(KEEP)
    assert headers == [
        ("Authorization", "Bearer t"),
        ("Impersonate-User", "ann"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-x%2Fy%25", "1"),
        ("Impersonate-Extra-x%2Fy%25", "2"),
    ]
    heads: list[str] = []

    async def answer(stream: trio.SocketStream, head: str) -> None:
        heads.append(head)
        if len(heads) == 1:
            await stream.send_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await stream.send_all(whole(b'{"gitVersion":"v1"}'))

    async with answering(answer, authorize=config.server.authorize) as client:
        await client.server_version()
    for head in heads:
        lines = head.split("\r\n")
        assert [line for line in lines if line.startswith("Impersonate")] == [f"{n}: {v}" for n, v in headers[1:]]
