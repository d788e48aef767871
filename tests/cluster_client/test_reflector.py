"""One list-and-watch on trio's own clock against an API in memory: sync, changes, resume, list again."""

from __future__ import annotations

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.cluster_client.memory_api import (
    MemoryApi,
    bookmark,
    error,
    event,
    pod,
    refusal,
    until,
)
from tests.cluster_client.reflecting import reflecting
from watcher.cluster.reflector import WATCH_AFTER


async def test_a_watch_is_synced_when_its_first_list_has_ended(autojump_clock: MockClock) -> None:
    """Before the list's last page there is no key; then all pages' objects are there at once."""
    api = MemoryApi()
    page = {"metadata": {"resourceVersion": "10", "continue": "next"}, "items": [pod("a")]}
    api.answers["list"] += [httpx.Response(200, json=page)]
    api.pods = [pod("b")]
    async with reflecting(api) as seen:
        assert seen.names() is None
        await seen.watching()
        assert seen.names() == {"a", "b"}
        assert seen.changes == [None]
        assert [query.get("continue") for verb, query, _ in api.asked if verb == "list"] == [None, "next"]


async def test_listed_objects_are_used_before_the_watch_asks_for_anything(autojump_clock: MockClock) -> None:
    """The first sessions to listed pods do not compete with it. It starts at the list's version: nothing is missed."""
    async with reflecting(MemoryApi("a", version=10)) as seen:
        await until(lambda: seen.changes)
        await trio.sleep(WATCH_AFTER / 2)
        assert (seen.names(), seen.api.verbs) == ({"a"}, ["list"])
        await seen.watching()
        assert seen.api.asked[-1][1]["resourceVersion"] == "10"


async def test_an_empty_list_is_synced_too(autojump_clock: MockClock) -> None:
    """No pods is an answer, not an absence of one."""
    api = MemoryApi()
    api.answers["list"] += [httpx.Response(200, json={"metadata": {"resourceVersion": "7"}, "items": None})]
    async with reflecting(api) as seen:
        await seen.watching()
        assert seen.names() == set()
        assert len(seen.changes) == 1


async def test_changes_are_applied_and_told(autojump_clock: MockClock) -> None:
    """Added, modified and deleted objects are in the snapshot when on_change is called."""
    async with reflecting(MemoryApi("a")) as seen:
        await seen.watching()
        for data, names in [
            (event("ADDED", pod("b", 11)), {"a", "b"}),
            (event("MODIFIED", pod("b", 12) | {"status": {"phase": "Failed"}}), {"a", "b"}),
            (event("DELETED", pod("a", 13)), {"b"}),
        ]:
            seen.changes.clear()
            seen.api.feeds[-1].send(data)
            await until(lambda: seen.changes)
            assert seen.names() == names


async def test_a_watch_resumes_from_the_last_version_a_bookmarks_included(autojump_clock: MockClock) -> None:
    """A watch that ended in good order goes on where it was, without a list."""
    async with reflecting(MemoryApi(version=10)) as seen:
        await seen.watching()
        seen.api.feeds[0].send(event("ADDED", pod("b", 11)) + bookmark(25))
        await trio.sleep(2)
        seen.api.feeds[0].end()
        await seen.watching(2)
        assert seen.api.verbs == ["list", "watch", "watch"]
        assert [query["resourceVersion"] for verb, query, _ in seen.api.asked if verb == "watch"] == ["10", "25"]
        assert seen.problem() is None


async def test_a_watch_asks_for_bookmarks_and_its_own_end(autojump_clock: MockClock) -> None:
    """timeoutSeconds is 5 to 10 minutes, and a connection silent for longer than that counts as dead."""
    async with reflecting(MemoryApi()) as seen:
        await seen.watching()
        query = seen.api.asked[-1][1]
        assert query["allowWatchBookmarks"] == "true"
        assert 300 <= int(query["timeoutSeconds"]) <= 600
        assert seen.api.requests[-1].extensions["timeout"]["read"] == int(query["timeoutSeconds"]) + 15


@pytest.mark.parametrize(
    "ending", [error(410, "too old resource version"), error(504, "Too large resource version: 10, current: 3")]
)
async def test_an_expired_version_lists_again_and_vanished_objects_go(autojump_clock: MockClock, ending: bytes) -> None:
    """What was deleted while nobody could watch is gone after the relist, and nothing was a problem."""
    async with reflecting(MemoryApi("a", "b")) as seen:
        await seen.watching()
        await trio.sleep(5)
        seen.api.pods = [pod("b"), pod("c")]
        seen.api.version = 90
        seen.api.feeds[0].send(ending)
        await seen.watching(2)
        assert seen.names() == {"b", "c"}
        assert seen.api.verbs == ["list", "watch", "list", "watch"]
        assert seen.api.asked[-1][1]["resourceVersion"] == "90"
        assert seen.changes == [None, None]
        assert seen.api.feeds[0].closed


async def test_an_expired_version_in_the_answer_lists_again_too(autojump_clock: MockClock) -> None:
    """410 may come as the HTTP status of the watch request instead."""
    api = MemoryApi("a")
    api.answers["watch"] += [refusal(410, "Expired")]
    async with reflecting(api) as seen:
        await seen.watching()
        assert api.verbs == ["list", "watch", "list", "watch"]
        assert seen.problem() is None


async def test_an_apiserver_whose_every_watch_expires_is_not_hammered(autojump_clock: MockClock) -> None:
    """Debian's etcd ends each watch with 504: lists come at a growing distance, not in a loop."""
    api = MemoryApi("a")
    api.answers["watch"] += [refusal(504, "Too large resource version: 10, current: 3") for _ in range(200)]
    async with reflecting(api):
        await trio.sleep(60)
        assert api.verbs.count("list") < 20


async def test_a_list_whose_token_expires_begins_again_whole(autojump_clock: MockClock) -> None:
    """410 for a later page: everything in one page then, as client-go does."""
    api = MemoryApi("a", "b")
    page = {"metadata": {"resourceVersion": "10", "continue": "next"}, "items": [pod("gone")]}
    api.answers["list"] += [httpx.Response(200, json=page), refusal(410, "continue token expired")]
    async with reflecting(api) as seen:
        await seen.watching()
        assert seen.names() == {"a", "b"}
        assert "limit" not in api.asked[2][1]


async def test_a_cut_watch_resumes_without_a_word(autojump_clock: MockClock) -> None:
    """One broken connection is no problem to show, and what came half is not used."""
    async with reflecting(MemoryApi("a")) as seen:
        await seen.watching()
        await trio.sleep(5)
        seen.api.feeds[0].send(event("ADDED", pod("b", 11)) + event("ADDED", pod("c", 12))[:30])
        seen.api.feeds[0].cut()
        await seen.watching(2)
        assert seen.names() == {"a", "b"}
        assert seen.api.asked[-1][1]["resourceVersion"] == "11"
        assert seen.changes == [None, None]


async def test_a_malformed_line_leads_to_a_list(autojump_clock: MockClock) -> None:
    """What cannot be read is skipped by asking for everything anew."""
    async with reflecting(MemoryApi("a")) as seen:
        await seen.watching()
        await trio.sleep(5)
        seen.api.feeds[0].send(b"nonsense\n")
        await seen.watching(2)
        assert seen.api.verbs == ["list", "watch", "list", "watch"]
        assert seen.names() == {"a"}
