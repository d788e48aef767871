"""How often an API server is asked on which no watch lasts, counted by the server."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import httpx
import pytest
import trio
from trio.testing import MockClock

from forwarders.backoff import TURN
from tests.cluster_client.memory_api import SERVER, MemoryApi, error, event, pod, refusal, streamed
from watcher.cluster.api_client import ApiClient
from watcher.cluster.clusters import Watches
from watcher.cluster.kinds import POD
from watcher.cluster.store import Watch

Ending = Callable[[], httpx.Response]


class Body(httpx.AsyncByteStream):
    """A watch that brings these bytes after `delay` seconds, and ends, politely or not."""

    def __init__(self, data: bytes = b"", delay: float = 0.0, *, cut: bool = False) -> None:
        self._data, self._delay, self._cut = data, delay, cut

    async def __aiter__(self):  # type: ignore[no-untyped-def] # an async generator, as httpx wants it
        await trio.sleep(self._delay)
        yield self._data
        if self._cut:
            raise httpx.ReadError("cut")


def watch(*args: object, **more: object) -> Ending:
    return lambda: httpx.Response(200, stream=Body(*args, **more))  # type: ignore[arg-type] # handed on


ENDINGS: dict[str, Ending] = {
    "ended politely": watch(),
    "cut": watch(cut=True),
    "cut soon": watch(delay=0.2, cut=True),
    "expired in the watch": watch(error(410, "too old")),
    "expired in the answer": lambda: streamed(refusal(410, "too old")),
    "no watch event": watch(b"{}\n"),
    "no JSON": watch(b"<html>\n"),
    "an event, then cut": watch(event("MODIFIED", pod("a", 9)), cut=True),
    "an event, then the end": watch(event("MODIFIED", pod("a", 9))),
    "an event, then expired": watch(event("MODIFIED", pod("a", 9)) + error(410, "too old")),
    "unavailable": lambda: streamed(refusal(503, "no")),
    "forbidden": lambda: streamed(refusal(403, "no")),
}


class NoWatchLasts(MemoryApi):
    """Lists are answered, watches end as the test says."""

    def __init__(self, ending: Ending) -> None:
        super().__init__("a")
        self._ending = ending
        self.times: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.times.append(trio.current_time())
        if "watch" not in dict(request.url.params):
            return await super().handle_async_request(request)
        await trio.lowlevel.checkpoint()
        return self._ending()

    def most_in_a_second(self, after: float) -> int:
        late = [at for at in self.times if at >= after]
        return max((sum(at <= other < at + 1 for other in late) for at in late), default=0)


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
async def test_a_server_on_which_no_watch_lasts_is_asked_ten_times_a_second_at_most(
    autojump_clock: MockClock, ending: Ending
) -> None:
    """Thirty watches that end at once: after the first round ten requests a second, for all of them together."""
    api = NoWatchLasts(ending)
    async with ApiClient(SERVER, api) as client, trio.open_nursery() as nursery:
        watches = Watches(client, lambda: None, Random(1))
        watches.want(frozenset(Watch(POD, f"ns-{number}") for number in range(30)))
        nursery.start_soon(watches.run)
        began = trio.current_time()
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    # The first round: a list and a watch each, and a retry out of turn where the connection broke.
    assert api.most_in_a_second(began + 2) <= 1 / TURN + 1


@pytest.mark.parametrize("name", ["ended politely", "cut", "expired in the watch", "expired in the answer", "no JSON"])
async def test_one_watch_that_never_lasts_is_asked_ever_more_seldom(autojump_clock: MockClock, name: str) -> None:
    """Falling off to a request or two in 2.5 to 5 seconds."""
    api = NoWatchLasts(ENDINGS[name])
    async with ApiClient(SERVER, api) as client, trio.open_nursery() as nursery:
        watches = Watches(client, lambda: None, Random(1))
        watches.want(frozenset({Watch(POD, "shop")}))
        nursery.start_soon(watches.run)
        began = trio.current_time()
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert sum(at > began + 30 for at in api.times) <= 30
