"""Keeps one WatchCache up to date: lists, watches from there, resumes, lists again only if it must.

The rules are those of client-go's tools/cache/reflector.go and kube-rs' watcher.rs. Lists are consistent reads (no
resourceVersion). A broken watch resumes from the last version it got. Only an expired version (410, or 504 "Too large
resource version") causes a new list.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from random import Random
from typing import Never, TypeVar

import trio
from outcome import acapture

from forwarders.backoff import Backoff, RetryLimiter
from watcher.cluster.api_client import ApiClient, EventStream
from watcher.cluster.meta_v1 import WatchEvent, WatchEventType
from watcher.cluster.store import Problem, WatchCache
from watcher.errors import ApiForbiddenError, ApiUnreachableError, ClusterError, ExpiredError, MalformedError

logger = logging.getLogger("portside.cluster")

# client-go's timeoutSeconds: between this and twice this, so that watches do not all end together.
MIN_WATCH_SECONDS = 300
# A watch that lasted this long or brought an event has worked. Any other is a failure, even without an error
# (client-go's VeryShortWatchError).
STEADY = 1.0
# A watch that has lasted this long releases all waiters: after an outage changes arrive within a second. If a server
# ends watches later than this, the limiter makes releases rarer (forwarders.backoff).
LASTS = 0.25
# Requests that are answered but do not help (each watch expires or ends at once) cost the API server: back off longer.
FIRST_BACKOFF, LAST_BACKOFF = 0.05, 5.0
# An API server or a permission that is back should be noticed within a second. Meanwhile each watch makes a second
# request at once, then one every 0.8 s; all together make one each forwarders.backoff.TURN seconds.
LAST_AWAY = 0.8
# A watch whose connection broke skips the queue once in so many seconds. Behind a proxy that cuts every connection
# after a few seconds, watches queue.
OUT_OF_TURN_EVERY = 30.0
# Seconds between two lists at least if a restart asked for the second one: any user can post events about deploys.
LISTED_EVERY = 0.25
# A list so soon after the last one shows that versions expire quickly: the watch after it queues too.
LISTED_LATELY = 10.0
# Seconds from a list to its watch, which misses nothing. Meanwhile the listed pods' first sessions are opened: at the
# start connections wait for them.
WATCH_AFTER = 0.05
# Seconds until a request without an answer is reported.
SLOW = 1.5
# A permission that was never granted is rarely granted later: people do that.
FORBIDDEN_PAUSE = 15.0
# A request that began less than this long ago need not be checked.
FRESH = 1.0


class Reflector:
    """Keeps one WatchCache up to date. `gate` is shared with others at the same API server; `now` dates old objects."""

    def __init__(
        self, client: ApiClient, cache: WatchCache, random: Random, gate: RetryLimiter, now: Callable[[], datetime]
    ) -> None:
        self.cache = cache
        self._client = client
        self._watch = cache.watch
        self._random = random
        self._gate = gate
        self._now = now
        # Two of them: a list that is due after an outage does not wait because the outage was long.
        self._away = Backoff(random, FIRST_BACKOFF, LAST_AWAY)
        self._unwell = Backoff(random, FIRST_BACKOFF, LAST_BACKOFF)
        self._version: str | None = None  # None: list first
        self._restarted = False  # so the next list shows nothing about versions
        self._seen_at: datetime | None = None
        self._asking: trio.CancelScope | None = None
        self._asked_at = trio.current_time()
        self._accepted_at, self._useful = math.inf, False  # the running watch
        self._out_of_turn_at = self._listed_at = -math.inf

    async def run(self) -> Never:
        """Lists and watches until cancelled. A ClusterError is recorded in the cache and does not end it."""
        self._version = None
        while True:
            try:
                with trio.CancelScope() as self._asking:
                    self._asked_at = trio.current_time()
                    self._accepted_at, self._useful = math.inf, False
                    await call_if_slow(SLOW, self._slow, self._list_and_watch)
            except ClusterError as error:
                self._asking = None
                await self._wait(self._failed(error))
            else:
                if not self._asking.cancelled_caught:
                    self._asking = None
                    await self._wait(0)

    async def _wait(self, pause: float) -> None:
        """Waits before the next request, in the queue if requests fail or the last watch did not last."""
        now = trio.current_time()
        if not self._was_short and self._failures <= 1 and now - self._out_of_turn_at >= OUT_OF_TURN_EVERY:
            self._out_of_turn_at = now
            await self._gate.wait(pause)
        else:
            await self._gate.wait_turn(pause)

    def restart(self) -> None:
        """Start with a list, also if one is under way: another API server answers now, or a deploy has ended."""
        self._version, self._restarted = None, True
        if self._asking is not None:
            self._asking.cancel()

    def check(self) -> None:
        """Resume on a new connection, because this one may be dead. The limiter releases a request that waits."""
        if self._asking is not None and trio.current_time() - self._asked_at >= FRESH:
            self._asking.cancel()

    async def _list_and_watch(self) -> None:
        if self._version is None:
            if self._restarted:
                await trio.sleep_until(self._listed_at + LISTED_EVERY)
            listed = await self._client.list(self._watch)
            await trio.lowlevel.checkpoint_if_cancelled()  # a restart asked for a newer list
            self.cache.replace(listed.objects)
            self._version = listed.resource_version
            self._answered()
            now = trio.current_time()
            again = not self._restarted and now - self._listed_at < LISTED_LATELY
            self._restarted, self._listed_at = False, now
            if again:
                await self._gate.wait_turn(0)
            await trio.sleep(WATCH_AFTER)
        await self._follow(self._version)

    async def _follow(self, version: str) -> None:
        """Follows one watch request until the API server ends it normally."""
        seconds = int(self._random.uniform(MIN_WATCH_SECONDS, 2 * MIN_WATCH_SECONDS))
        async with self._client.watch(self._watch, version, seconds) as stream:
            self._accepted_at = trio.current_time()
            if self._answered():
                self.cache.clear_error()
            try:
                await call_if_slow(LASTS, self._lasts, partial(self._take, stream))
            finally:
                self._seen_at = self._now()
        if not self._useful:
            raise ApiUnreachableError("the API server ended a watch at once")

    async def _take(self, stream: EventStream) -> None:
        async for events in stream:
            await trio.lowlevel.checkpoint_if_cancelled()  # after a restart these events must not set the version
            self._apply(events)
            if events:
                self._works()

    def _answered(self) -> bool:
        """Notes an answer: the first after an outage releases all waiters. Returns whether watches have lasted."""
        trusted = not self._unwell.failures
        if trusted and self._away.failures:
            self._away.reset()
            self._gate.release()
        return trusted

    def _works(self) -> bool:
        """Notes that the watch works. Returns whether that ends an error."""
        self._useful = True
        self._away.reset()
        self._unwell.reset()
        return self.cache.clear_error()

    def _lasts(self) -> None:
        """Notes that a watch has lasted; if watches ended at once before, that releases all waiters."""
        if self._works():
            self._gate.release()

    def _slow(self) -> None:
        if math.isinf(self._accepted_at):
            asked = f"{'list' if self._version is None else 'watch'} {self._name}"
            self._report(f"cannot {asked} yet: {self._client.server.url} has not answered", forbidden=False)

    def _apply(self, events: list[WatchEvent]) -> None:
        for event in events:
            match event.change:
                case WatchEventType.ADDED | WatchEventType.MODIFIED:
                    self.cache.put(event.object)
                case WatchEventType.DELETED:
                    self.cache.drop(event.object)
                case WatchEventType.BOOKMARK:
                    pass
            self._version = event.object.metadata.resource_version or self._version

    def _failed(self, error: ClusterError) -> float:
        """Record the error; returns the seconds to wait."""
        if expired := isinstance(error, ExpiredError | MalformedError):
            self._version = None
            self._away.reset()  # the API server answers
        pause = (self._unwell if expired or self._was_short else self._away).next()
        forbidden = isinstance(error, ApiForbiddenError)
        # A connection that breaks once and is back at once is not reported if the objects are known.
        if forbidden or self._failures > 1 or not self.cache.synced:
            self._report(str(error), forbidden=forbidden)
        logger.debug("%s: %s; again in %.2f s", self._name, error, pause)
        return FORBIDDEN_PAUSE if forbidden and not self.cache.synced else pause

    def _report(self, text: str, *, forbidden: bool) -> None:
        if self._seen_at is not None:
            text += f"; {self._name} are shown as of {self._seen_at:%H:%M:%S}"
        if self.cache.set_error(Problem(text, forbidden=forbidden)):
            logger.info("%s", text)

    @property
    def _was_short(self) -> bool:
        """Whether the API server accepted a watch that has not lasted."""
        return 0 <= trio.current_time() - self._accepted_at < STEADY

    @property
    def _failures(self) -> int:
        """How many requests have failed in a row."""
        return self._away.failures + self._unwell.failures

    @property
    def _name(self) -> str:
        plural, namespace = self._watch.kind.plural, self._watch.namespace
        return f"{plural} in namespace {namespace}" if namespace else plural


T = TypeVar("T")


async def call_if_slow(seconds: float, act: Callable[[], None], work: Callable[[], Awaitable[T]]) -> T:
    """Runs `work` and returns its result; calls `act` if it is still running after so many seconds."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_act_after, seconds, act)
        ended = await acapture(work)
        nursery.cancel_scope.cancel()
    return ended.unwrap()  # outside the nursery, which would raise its error in a group


async def _act_after(seconds: float, act: Callable[[], None]) -> None:
    await trio.sleep(seconds)
    act()
