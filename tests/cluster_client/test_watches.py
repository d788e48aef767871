"""The set of watches: what is wanted runs, what is not is forgotten, and none takes another with it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from trio.testing import MockClock

from forwarders.backoff import TURN
from tests.cluster_client.memory_api import SERVER, MemoryApi, event, longest, pod, refusal, streamed, until
from watcher.cluster.api_client import ApiClient
from watcher.cluster.clusters import Watches
from watcher.cluster.kinds import POD, SERVICE
from watcher.cluster.store import Watch

PODS, SERVICES = Watch(POD, "shop"), Watch(SERVICE, "shop")


@asynccontextmanager
async def running(api: httpx.AsyncBaseTransport, *first: Watch) -> AsyncIterator[Watches]:
    async with ApiClient(SERVER, api) as client, trio.open_nursery() as nursery:
        watches = Watches(client, lambda: None, longest())
        watches.want(frozenset(first))
        await nursery.start(watches.run)
        yield watches
        nursery.cancel_scope.cancel()


async def test_what_is_wanted_before_and_after_the_start_runs(autojump_clock: MockClock) -> None:
    """want() may come before run(), and adds to what runs."""
    async with running(MemoryApi("a"), PODS) as watches:
        await until(lambda: watches.snapshot.synced(PODS))
        assert not watches.snapshot.synced(SERVICES)
        watches.want(frozenset({PODS, SERVICES}))
        await until(lambda: watches.snapshot.synced(SERVICES))


async def test_only_one_run_has_the_watches(autojump_clock: MockClock) -> None:
    """A second one waits beside the first. When both have ended, the next one has them."""
    api = MemoryApi("a")
    async with ApiClient(SERVER, api) as client:
        watches = Watches(client, lambda: None, longest())
        for number in (1, 2):
            async with trio.open_nursery() as nursery:
                await nursery.start(watches.run)
                await nursery.start(watches.run)
                watches.want(frozenset({PODS}))
                await until(lambda: watches.snapshot.synced(PODS))
                assert api.verbs.count("list") == number
                watches.want(frozenset())
                nursery.cancel_scope.cancel()


async def test_what_is_wanted_still_runs_in_the_next_run(autojump_clock: MockClock) -> None:
    """As when a bug ended the first one: a cluster's watches begin again."""
    api = MemoryApi("a")
    async with ApiClient(SERVER, api) as client:
        watches = Watches(client, lambda: None, longest())
        watches.want(frozenset({PODS}))
        for _ in range(2):
            api.verbs.clear()
            async with trio.open_nursery() as nursery:
                await nursery.start(watches.run)
                await until(lambda: bool(api.verbs))
                nursery.cancel_scope.cancel()
            assert watches.snapshot.synced(PODS)


async def test_what_is_wanted_still_is_not_begun_again(autojump_clock: MockClock) -> None:
    """The same wish twice costs nothing."""
    api = MemoryApi("a")
    async with running(api, PODS) as watches:
        await until(lambda: api.feeds)
        watches.want(frozenset({PODS}))
        await trio.sleep(5)
        assert api.verbs == ["list", "watch"]


async def test_what_is_not_wanted_is_forgotten_at_once_and_its_watch_closed(autojump_clock: MockClock) -> None:
    """Objects and problems of a superfluous watch are gone when want() returns; its connection soon after."""
    api = MemoryApi("a")
    async with running(api, PODS) as watches:
        snapshot = watches.snapshot
        await until(lambda: api.feeds)
        watches.want(frozenset())
        assert not snapshot.synced(PODS)
        await until(lambda: api.feeds[0].closed)
        watches.want(frozenset({PODS}))
        await until(lambda: snapshot.synced(PODS))


async def test_the_snapshot_is_live(autojump_clock: MockClock) -> None:
    """A snapshot taken before a change shows it."""
    api = MemoryApi("a")
    async with running(api, PODS) as watches:
        snapshot = watches.snapshot
        await until(lambda: api.feeds)
        api.feeds[0].send(event("ADDED", pod("b", 11)))
        await until(lambda: ("shop", "b") in snapshot.objects[PODS])


async def test_one_watchs_trouble_is_its_own(autojump_clock: MockClock) -> None:
    """Where pods may be listed and services not, pods are there and services have their problem."""

    class NoServices(MemoryApi):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/services"):
                return streamed(refusal(403, "services is forbidden"))
            return await super().handle_async_request(request)

    async with running(NoServices("a"), PODS, SERVICES) as watches:
        await until(lambda: watches.snapshot.synced(PODS))
        await until(lambda: SERVICES in watches.snapshot.problems)
        assert watches.snapshot.problems[SERVICES].forbidden
        assert PODS not in watches.snapshot.problems
        assert not watches.snapshot.synced(SERVICES)


async def test_a_mistake_in_one_watch_does_not_take_the_others(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception nobody expected is a problem of that watch alone, is logged, and is tried again later."""

    class Broken(MemoryApi):
        broken = True

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if self.broken and request.url.path.endswith("/services"):
                raise ZeroDivisionError
            return await super().handle_async_request(request)

    api = Broken("a")
    with caplog.at_level(logging.ERROR, "portside.cluster"):
        async with running(api, PODS, SERVICES) as watches:
            await until(lambda: SERVICES in watches.snapshot.problems)
            await until(lambda: watches.snapshot.synced(PODS))
            api.broken = False
            await until(lambda: watches.snapshot.synced(SERVICES))
            await until(lambda: not watches.snapshot.problems)
    assert "services" in caplog.text


async def test_when_the_api_server_is_back_for_one_watch_the_others_do_not_wait(autojump_clock: MockClock) -> None:
    """The first watch that works again wakes those that pause."""

    class Away(MemoryApi):
        away = True

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if self.away:
                raise httpx.ConnectError("away")
            return await super().handle_async_request(request)

    api = Away("a")
    wanted = [Watch(POD, f"ns-{number}") for number in range(20)]
    async with running(api, *wanted[:10]) as watches:
        await trio.sleep(33)
        watches.want(frozenset(wanted))
        await trio.sleep(29)
        api.away = False
        await until(lambda: watches.snapshot.objects)
        back = trio.current_time()
        await until(lambda: len(watches.snapshot.objects) == len(wanted))
        assert trio.current_time() - back < 0.1


async def test_an_api_server_that_is_away_is_asked_at_a_bounded_pace(autojump_clock: MockClock) -> None:
    """Sixty watches ask no more than ten times a second together, and all are well a second after it is back."""

    class Away(MemoryApi):
        away, tries = True, 0

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if self.away:
                self.tries += 1
                raise httpx.ConnectError("away")
            return await super().handle_async_request(request)

    api = Away("a")
    wanted = [Watch(POD, f"ns-{number}") for number in range(60)]
    async with running(api, *wanted) as watches:
        await trio.sleep(10)
        before = api.tries
        await trio.sleep(20)
        assert api.tries - before <= 20 / TURN + 1
        api.away = False
        back = trio.current_time()
        await until(lambda: len(watches.snapshot.objects) == len(wanted))
        assert trio.current_time() - back < 1


async def test_a_check_reaches_every_watch(autojump_clock: MockClock) -> None:
    """After a sleep each watch goes on over a new connection."""
    api = MemoryApi("a")
    async with running(api, PODS, SERVICES) as watches:
        await until(lambda: len(api.feeds) == 2)
        await trio.sleep(90)
        watches.check()
        await until(lambda: len(api.feeds) == 4)
        assert [feed.closed for feed in api.feeds] == [True, True, False, False]
