"""Lists that are made again, because a deploy has ended or another API server answers: nothing older counts."""

from __future__ import annotations

import httpx
import trio
from trio.testing import MockClock

from tests.cluster_client.memory_api import SERVER, MemoryApi, event, longest, pod, until
from tests.cluster_client.test_watches import PODS, running
from watcher.cluster.api_client import ApiClient
from watcher.cluster.clusters import Watches
from watcher.cluster.kinds import POD
from watcher.cluster.store import Watch


async def test_a_refresh_lasts_until_a_list_that_began_after_it(autojump_clock: MockClock) -> None:
    """Objects are outdated from the call on. A list that is under way then may be older, and ends nothing."""

    class Slow(MemoryApi):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if "watch" not in request.url.params:
                await trio.sleep(10)
            return await super().handle_async_request(request)

    api = Slow("a")
    async with running(api, PODS) as watches:
        watches.refresh()
        assert not watches.snapshot.outdated  # nothing is known yet; the first list may have begun before the refresh
        await until(lambda: watches.snapshot.synced(PODS))
        assert trio.current_time() < 20
        await trio.sleep(60)
        began = trio.current_time()
        watches.refresh()
        await trio.sleep(5)
        watches.refresh()
        assert watches.snapshot.outdated == {PODS}
        await until(lambda: not watches.snapshot.outdated)
        assert trio.current_time() - began >= 15
        assert api.feeds[0].closed


async def test_an_outdated_list_that_changed_nothing_is_reported_too(autojump_clock: MockClock) -> None:
    """on_change is called when the objects are known to be new, and the objects stay meanwhile."""
    api, changes = MemoryApi("a"), list[bool]()
    async with ApiClient(SERVER, api) as client, trio.open_nursery() as nursery:
        watches = Watches(client, lambda: changes.append(bool(watches.snapshot.outdated)), longest())
        watches.want(frozenset({PODS}))
        await nursery.start(watches.run)
        await until(lambda: api.feeds)
        del changes[:]
        watches.refresh()
        assert watches.snapshot.synced(PODS)
        await until(lambda: len(api.feeds) == 2)
        assert changes == [False]
        watches.refresh()
        watches.want(frozenset())
        assert not watches.snapshot.outdated
        nursery.cancel_scope.cancel()


async def test_a_refresh_soon_after_a_list_delays_nothing(autojump_clock: MockClock) -> None:
    """Lists that soon follow others show that versions expire quickly, but not those that were asked for."""
    api = MemoryApi("a")
    wanted = [Watch(POD, f"ns-{number}") for number in range(30)]
    async with running(api, *wanted) as watches:
        await until(lambda: len(api.feeds) == len(wanted))
        await trio.sleep(5)
        began = trio.current_time()
        watches.refresh()
        await until(lambda: len(api.feeds) == 2 * len(wanted))
        assert trio.current_time() - began < 0.2
        assert not watches.snapshot.problems


async def test_an_event_just_before_a_restart_does_not_prevent_the_list(autojump_clock: MockClock) -> None:
    """The event is read after the restart: the watch resumes from nothing that came before it."""
    api = MemoryApi("a")
    async with running(api, PODS) as watches:
        await until(lambda: api.feeds)
        await trio.sleep(60)
        api.feeds[0].send(event("ADDED", pod("b", 11)))
        watches.refresh()
        await until(lambda: len(api.feeds) == 2)
        assert api.verbs == ["list", "watch", "list", "watch"]
        assert not watches.snapshot.outdated


async def test_a_list_just_before_a_restart_does_not_count(autojump_clock: MockClock) -> None:
    """It is read after the restart, but was made before the deploy."""

    class Held(MemoryApi):
        answer: trio.Event | None = None

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answered = await super().handle_async_request(request)
            if self.answer is not None and "watch" not in request.url.params:
                await self.answer.wait()
            return answered

    api = Held("a")
    async with running(api, PODS) as watches:
        await until(lambda: api.feeds)
        api.answer = trio.Event()
        watches.refresh()
        await until(lambda: api.verbs.count("list") == 2)
        api.answer.set()
        watches.refresh()
        await until(lambda: len(api.feeds) == 2)
        assert api.verbs.count("list") == 3
