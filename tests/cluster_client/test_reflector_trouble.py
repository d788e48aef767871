"""One list-and-watch when the API server is away, forbids, or ends each watch: said, waited for, recovered from."""

from __future__ import annotations

from itertools import pairwise

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.cluster_client.memory_api import (
    MemoryApi,
    event,
    pod,
    refusal,
    status,
    until,
)
from tests.cluster_client.reflecting import reflecting
from watcher.cluster.reflector import FORBIDDEN_PAUSE
from watcher.cluster.store import Problem


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
            "pods in namespace shop are shown as of 22:48:04"
        )
        assert seen.names() == {"a"}
        await seen.watching(2)
        await until(lambda: not seen.problem())
        assert len(seen.gate.opened_at) == 1
        assert seen.api.verbs.count("list") == 1


async def test_attempts_come_at_a_doubling_distance_up_to_less_than_a_second(autojump_clock: MockClock) -> None:
    """0.05 s, doubling to 0.8 s: an API server that is back is known within a second, and never flooded."""
    api = MemoryApi("a")
    api.answers["list"] += [httpx.ConnectError("away") for _ in range(9)]
    async with reflecting(api) as seen:
        await seen.watching()
        times = [at for verb, _, at in api.asked if verb == "list"]
        waits = [round(later - at, 2) for at, later in pairwise(times)]
        assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 0.8, 0.8, 0.8, 0.8]


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


async def test_a_watch_that_was_cut_does_not_queue(autojump_clock: MockClock) -> None:
    """Once cut, it goes on at once, though many others that are refused again and again wait for their turn."""
    async with reflecting(MemoryApi("a")) as seen, trio.open_nursery() as others:
        await seen.watching()
        await trio.sleep(5)
        for _ in range(20):
            others.start_soon(seen.gate.wait_turn, 0.0)
        await trio.testing.wait_all_tasks_blocked()
        cut = trio.current_time()
        seen.api.feeds[0].cut()
        await seen.watching(2)
        assert trio.current_time() - cut < 0.1
        others.cancel_scope.cancel()


async def test_hurry_ends_a_wait_for_the_next_attempt(autojump_clock: MockClock) -> None:
    """Where the API server is known to be back, nobody waits out a pause."""
    api = MemoryApi("a")
    api.answers["list"] += [refusal(403)]
    async with reflecting(api) as seen:
        await until(seen.problem)
        seen.gate.release()
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


async def test_a_closed_cache_takes_nothing(autojump_clock: MockClock) -> None:
    """An event that arrives while its watch is being cancelled does not bring the objects back."""
    async with reflecting(MemoryApi("a")) as seen:
        await seen.watching()
        seen.reflector.cache.close()
        seen.api.feeds[0].send(event("ADDED", pod("b", 11)))
        seen.api.feeds[0].send(event("DELETED", pod("a", 12)))
        seen.api.feeds[0].cut()
        await trio.sleep(5)
        assert seen.names() is None
        assert seen.problem() is None
        assert len(seen.changes) == 1


async def test_rights_that_are_given_back_are_seen_within_a_second(autojump_clock: MockClock) -> None:
    """What was allowed before is asked for again soon, however long it was away."""
    async with reflecting(MemoryApi("a")) as seen:
        await seen.watching()
        seen.api.answers["watch"] += [refusal(403, "no more") for _ in range(500)]
        await trio.sleep(5)
        seen.api.feeds[0].end()
        await trio.sleep(60)
        seen.api.answers["watch"].clear()
        given = trio.current_time()
        await seen.watching(2)
        assert trio.current_time() - given < 1
        await until(lambda: not seen.problem())
        assert len(seen.api.asked) < 2 * 60


async def test_a_check_goes_on_over_a_new_connection(autojump_clock: MockClock) -> None:
    """A watch that may be dead is asked anew from its last version on: no list, no word of a problem."""
    async with reflecting(MemoryApi("a")) as seen:
        await seen.watching()
        seen.api.feeds[0].send(event("MODIFIED", pod("a", 11)))
        await trio.sleep(5)
        seen.reflector.check()
        seen.reflector.check()
        await seen.watching(2)
        assert seen.api.feeds[0].closed
        verb, query, _ = seen.api.asked[-1]
        assert (verb, query["resourceVersion"]) == ("watch", "11")
        seen.api.feeds[1].send(event("ADDED", pod("b", 12)))
        await until(lambda: seen.names() == {"a", "b"})
        assert set(seen.changes) == {None}
        assert seen.api.verbs == ["list", "watch", "watch"]


async def test_a_watch_that_has_just_begun_is_not_checked(autojump_clock: MockClock) -> None:
    """One silent session after the other may ask for a check: a watch is begun anew at most once a second."""
    async with reflecting(MemoryApi("a")) as seen:
        await seen.watching()
        await trio.sleep(5)
        for _ in range(20):
            seen.reflector.check()
            await trio.sleep(0.04)
        assert seen.api.verbs.count("watch") == 2


async def test_a_question_that_hangs_is_asked_anew(autojump_clock: MockClock) -> None:
    """A request whose answer is lost on a dead way does not wait out its 30 s."""

    class Hanging(MemoryApi):
        hanging = True

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if self.hanging:
                await trio.sleep_forever()
            return await super().handle_async_request(request)

    api = Hanging("a")
    async with reflecting(api) as seen:
        await trio.sleep(5)
        api.hanging = False
        seen.reflector.check()
        with trio.fail_after(0.5):
            await seen.watching()


async def test_a_list_that_is_due_after_an_outage_does_not_wait_for_its_length(autojump_clock: MockClock) -> None:
    """Two minutes without an API server, then 410 because its past is gone: listed and watched within a second."""
    async with reflecting(MemoryApi("a")) as seen:
        await seen.watching()
        await trio.sleep(5)
        seen.api.answers["watch"] += [httpx.ConnectError("away") for _ in range(1000)]
        seen.api.feeds[0].cut()
        await trio.sleep(120)
        seen.api.answers["watch"].clear()
        seen.api.answers["watch"].append(refusal(410, "too old resource version"))
        back = trio.current_time()
        await seen.watching(2)
        assert trio.current_time() - back < 1
        await until(lambda: not seen.problem())


async def test_a_question_that_is_not_answered_is_said_within_two_seconds(autojump_clock: MockClock) -> None:
    """While it waits, with the address and what was asked; the answer ends the problem."""
    release = trio.Event()

    class Slow(MemoryApi):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await release.wait()
            return await super().handle_async_request(request)

    async with reflecting(Slow("a")) as seen:
        began = trio.current_time()
        await until(seen.problem)
        assert trio.current_time() - began < 2
        assert seen.problem() == Problem(
            "cannot list pods in namespace shop yet: http://api.test:6443 has not answered"
        )
        release.set()
        await seen.watching()
        await until(lambda: not seen.problem())
        assert seen.names() == {"a"}
