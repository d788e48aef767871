"""One list-and-watch on trio's own clock against an API in memory: sync, resume, relist, trouble, recovery."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.cluster_client.memory_api import (
    SERVER,
    MemoryApi,
    bookmark,
    error,
    event,
    longest,
    pod,
    refusal,
    status,
    until,
)
from watcher.cluster.client import Client
from watcher.cluster.kinds import POD
from watcher.cluster.reflector import FORBIDDEN_PAUSE, Reflector
from watcher.cluster.store import Problem, Shelf, Store, Watch

WATCH = Watch(POD, "shop")


@dataclass
class Seen:
    """A reflector that runs, and what it showed."""

    api: MemoryApi
    reflector: Reflector
    store: Store
    changes: list[object]
    recoveries: list[float] = field(default_factory=list)

    def names(self) -> set[str] | None:
        objects = self.store.snapshot.objects.get(WATCH)
        return None if objects is None else {name for _, name in objects}

    def problem(self) -> Problem | None:
        return self.store.snapshot.problems.get(WATCH)

    async def watching(self, number: int = 1) -> None:
        await until(lambda: len(self.api.feeds) >= number)


@asynccontextmanager
async def reflecting(api: MemoryApi) -> AsyncIterator[Seen]:
    changes: list[object] = []
    recoveries: list[float] = []
    store = Store(lambda: changes.append(store.snapshot.problems.get(WATCH)))
    async with Client(SERVER, api) as client, trio.open_nursery() as nursery:
        reflector = Reflector(
            client,
            Shelf(store, WATCH),
            longest(),
            lambda: recoveries.append(trio.current_time()),
            lambda: datetime(2026, 11, 23, 22, 48, 4, tzinfo=UTC),
        )
        nursery.start_soon(reflector.run)
        yield Seen(api, reflector, store, changes, recoveries)
        nursery.cancel_scope.cancel()


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
            (event("MODIFIED", pod("b", 12)), {"a", "b"}),
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


async def test_an_apiserver_that_is_away_is_a_problem_and_the_objects_stay(autojump_clock: MockClock) -> None:
    """While it is away the old objects are served, the text says since when, and its return clears that."""
    async with reflecting(MemoryApi("a")) as seen:
        await seen.watching()
        await trio.sleep(5)
        seen.api.answers["watch"] += [httpx.ConnectError("Connection refused") for _ in range(5)]
        seen.api.feeds[0].cut()
        await until(seen.problem)
        assert seen.problem() == Problem(
            "the API server http://api.test:6443 cannot be reached: Connection refused; "
            "what is known of pods in namespace shop is from 22:48:04"
        )
        assert seen.names() == {"a"}
        await seen.watching(2)
        await until(lambda: not seen.problem())
        assert len(seen.recoveries) == 1
        assert seen.api.verbs.count("list") == 1


async def test_attempts_come_at_a_doubling_distance_up_to_five_seconds(autojump_clock: MockClock) -> None:
    """0.05 s, doubling to 5 s: soon at first, never a flood."""
    api = MemoryApi("a")
    api.answers["list"] += [httpx.ConnectError("away") for _ in range(9)]
    async with reflecting(api) as seen:
        await seen.watching()
        times = [at for verb, _, at in api.asked if verb == "list"]
        waits = [round(later - at, 2) for at, later in pairwise(times)]
        assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


async def test_a_watch_that_stood_resets_the_backoff(autojump_clock: MockClock) -> None:
    """A watch that is cut every 2 s is up again each time within a tenth of a second."""
    async with reflecting(MemoryApi("a")) as seen:
        for number in range(1, 20):
            await seen.watching(number)
            await trio.sleep(2)
            before = trio.current_time()
            seen.api.feeds[-1].cut()
            await seen.watching(number + 1)
            assert trio.current_time() - before < 0.1
        assert set(seen.changes) == {None}


async def test_a_watch_that_ends_at_once_again_and_again_is_a_problem(autojump_clock: MockClock) -> None:
    """A proxy that closes each watch without an error is not asked in a loop."""
    async with reflecting(MemoryApi("a")) as seen:
        async with trio.open_nursery() as nursery:

            async def end_each() -> None:
                ended = 0
                while True:
                    await seen.watching(ended + 1)
                    seen.api.feeds[ended].end()
                    ended += 1

            nursery.start_soon(end_each)
            await trio.sleep(60)
            nursery.cancel_scope.cancel()
        assert seen.api.verbs.count("watch") < 25
        assert any(isinstance(change, Problem) for change in seen.changes)


async def test_what_is_forbidden_is_said_and_asked_again_slowly(autojump_clock: MockClock) -> None:
    """403 is a problem marked as such; a role that is given later works after one more such pause."""
    api = MemoryApi("a")
    api.answers["list"] += [refusal(403, "pods is forbidden") for _ in range(2)]
    async with reflecting(api) as seen:
        await until(seen.problem)
        assert seen.problem() == Problem("cannot list pods in namespace shop: pods is forbidden (403)", forbidden=True)
        assert seen.names() is None
        await seen.watching()
        assert seen.names() == {"a"}
        await until(lambda: not seen.problem())
        assert api.asked[-1][2] - api.asked[0][2] == pytest.approx(2 * FORBIDDEN_PAUSE, abs=0.1)


async def test_rights_that_are_taken_away_leave_the_objects(autojump_clock: MockClock) -> None:
    """A watch refused later shows the problem, and what was known stays."""
    async with reflecting(MemoryApi("a")) as seen:
        await seen.watching()
        await trio.sleep(5)
        seen.api.answers["watch"] += [refusal(403, "no more")]
        seen.api.feeds[0].end()
        await until(seen.problem)
        problem = seen.problem()
        assert problem is not None
        assert problem.forbidden
        assert seen.names() == {"a"}


async def test_hurry_ends_a_wait_for_the_next_attempt(autojump_clock: MockClock) -> None:
    """Where the API server is known to be back, nobody waits out a pause."""
    api = MemoryApi("a")
    api.answers["list"] += [refusal(403)]
    async with reflecting(api) as seen:
        await until(seen.problem)
        seen.reflector.hurry()
        await seen.watching()
        assert trio.current_time() - api.asked[0][2] < 1


async def test_the_same_problem_is_told_once(autojump_clock: MockClock) -> None:
    """Attempts that fail alike are one change, not one each."""
    api = MemoryApi()
    api.answers["list"] += [httpx.Response(503, json=status(503, "not ready")) for _ in range(6)]
    async with reflecting(api) as seen:
        await seen.watching()
        told = Problem("cannot list pods in namespace shop: not ready (503)")
        assert seen.changes == [told, told, None]  # said; the list; the watch stands


async def test_a_closed_shelf_takes_nothing(autojump_clock: MockClock) -> None:
    """An event that arrives while its watch is being cancelled does not bring the objects back."""
    async with reflecting(MemoryApi("a")) as seen:
        await seen.watching()
        seen.reflector.shelf.close()
        seen.api.feeds[0].send(event("ADDED", pod("b", 11)))
        seen.api.feeds[0].send(event("DELETED", pod("a", 12)))
        seen.api.feeds[0].cut()
        await trio.sleep(5)
        assert seen.names() is None
        assert seen.problem() is None
        assert len(seen.changes) == 1
