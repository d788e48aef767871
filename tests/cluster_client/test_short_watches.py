"""Watches that end soon: what they brought decides whether that was a failure."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from tests.cluster_client.memory_api import MemoryApi, event, pod
from tests.cluster_client.reflecting import reflecting
from watcher.cluster.reflector import FIRST_BACKOFF


async def test_a_watch_that_is_cut_after_each_event_is_up_again_at_once(autojump_clock: MockClock) -> None:
    """Something came through, so the next attempt starts from the first pause, however short the watch was."""
    async with reflecting(MemoryApi("a")) as seen:
        for number in range(1, 12):
            await seen.watching(number)
            feed = seen.api.feeds[-1]
            feed.send(event("MODIFIED", pod("a", 10 + number)))
            await trio.sleep(0.1)
            feed.cut()
            cut = trio.current_time()
            await seen.watching(number + 1)
            assert trio.current_time() - cut <= FIRST_BACKOFF + 0.02
        assert set(seen.changes) == {None}
        assert seen.api.verbs.count("list") == 1


async def test_a_watch_that_ends_soon_but_brought_something_is_no_failure(autojump_clock: MockClock) -> None:
    """client-go's rule for very short watches asks for both: short, and without an item."""
    async with reflecting(MemoryApi("a")) as seen:
        for number in range(1, 6):
            await seen.watching(number)
            feed = seen.api.feeds[-1]
            feed.send(event("MODIFIED", pod("a", 10 + number)))
            await trio.sleep(0.1)
            feed.end()
            ended = trio.current_time()
            await seen.watching(number + 1)
            assert trio.current_time() - ended <= 0.02
        assert seen.problem() is None
