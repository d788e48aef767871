"""Owns one list-and-watch, for ever: list, mark as synced, watch from there, resume, list again where it must.

Refuses policy: it keeps one WatchCache up to date. The rules are those of client-go's tools/cache/reflector.go and
kube-rs' watcher.rs: lists are consistent reads (no resourceVersion), a broken watch resumes from the last version it
got, only an expired version (410, or 504 "Too large resource version") leads to a new list.
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

from forwarders.backoff import Backoff, RetryLimiter
from watcher.cluster.client import ApiClient, WatchStream
from watcher.cluster.store import Problem, WatchCache
from watcher.cluster.wire import WatchEvent, WatchEventType
from watcher.errors import ApiForbiddenError, ApiUnreachableError, ClusterError, ExpiredError, MalformedError

logger = logging.getLogger("portside.cluster")

# client-go's timeoutSeconds: between this and twice this, so that not all watches end at once.
MIN_WATCH_SECONDS = 300
# A watch that stood this long or brought something worked: all else is a failure, also without an error (client-go's
# VeryShortWatchError).
STEADY = 1.0
# A watch that has not ended by then releases all others, so that news come within a second of an outage's end. Where a
# server ends watches later than this, releases come ever more seldom (forwarders.backoff).
LASTS = 0.25
# What is answered, but of no use (each watch expires, or ends at once), costs the API server: up to this long.
FIRST_BACKOFF, LAST_BACKOFF = 0.05, 5.0
# An API server that is back, or rights that were given back, are to be seen within a second. What that costs while they
# are not: a second request for each watch at once, then one every 0.8 s, but one each forwarders.backoff.TURN seconds
# for all together.
LAST_AWAY = 0.8
# A watch whose connection broke goes out of turn once in so many seconds: behind a proxy that cuts everything every few
# seconds, watches wait their turn.
OUT_OF_TURN_EVERY = 30.0
# A list so soon after the last one shows that versions do not last: the watch behind it waits its turn as well.
LISTED_LATELY = 10.0
# Seconds until the user is told what is being waited for.
SLOW = 1.5
# What was never allowed is rarely allowed later: rights are given by people.
FORBIDDEN_PAUSE = 15.0
# A watch that began, or a question that was asked, less than this long ago need not be checked.
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
        # Kept apart: a list that is due after an outage does not wait because the outage was long.
        self._away = Backoff(random, FIRST_BACKOFF, LAST_AWAY)
        self._unwell = Backoff(random, FIRST_BACKOFF, LAST_BACKOFF)
        self._version: str | None = None  # None: a list is due
        self._seen_at: datetime | None = None
        self._asking: trio.CancelScope | None = None
        self._asked_at = trio.current_time()
        self._accepted = self._useful = self._stood = False  # the watch under way
        self._out_of_turn_at = self._listed_at = -math.inf

    async def run(self) -> Never:
        """Lists and watches until cancelled; a ClusterError is recorded in the cache and never ends it."""
        self._version = None
        while True:
            try:
                with trio.CancelScope() as self._asking:
                    self._asked_at = trio.current_time()
                    self._accepted = self._useful = self._stood = False
                    await call_if_slow(SLOW, self._slow, self._list_and_watch)
            except ClusterError as error:
                self._asking = None
                await self._wait(self._failed(error))
            else:
                if not self._asking.cancelled_caught:
                    self._asking = None
                    await self._wait(0)

    async def _wait(self, pause: float) -> None:
        """Until the next request. What was answered, but did not last, waits its turn: it costs the API server."""
        now = trio.current_time()
        lasted = self._stood or not self._accepted
        if lasted and self._failures <= 1 and now - self._out_of_turn_at >= OUT_OF_TURN_EVERY:
            self._out_of_turn_at = now
            await self._gate.wait(pause)
        else:
            await self._gate.wait_turn(pause)

    def restart(self) -> None:
        """Another API server answers from now on: begin with a list."""
        self._version = None
        if self._asking is not None:
            self._asking.cancel()

    def check(self) -> None:
        """The connection may be dead: ask on a new one, from the last version on. Who waits is woken by the gate."""
        if self._asking is not None and trio.current_time() - self._asked_at >= FRESH:
            self._asking.cancel()

    async def _list_and_watch(self) -> None:
        if self._version is None:
            listed = await self._client.list(self._watch)
            self.cache.replace(listed.objects)
            self._version = listed.resource_version
            self._answered()
            again, self._listed_at = trio.current_time() - self._listed_at < LISTED_LATELY, trio.current_time()
            if again:  # lists that help no watch have their turns too
                await self._gate.wait_turn(0)
        await self._follow(self._version)

    async def _follow(self, version: str) -> None:
        """One watch request, until the API server ends it in good order."""
        seconds = int(self._random.uniform(MIN_WATCH_SECONDS, 2 * MIN_WATCH_SECONDS))
        async with self._client.watch(self._watch, version, seconds) as stream:
            self._accepted = True
            if self._answered():
                self.cache.clear_error()
            try:
                standing = partial(call_if_slow, STEADY, self._stands, partial(self._take, stream))
                await call_if_slow(LASTS, self._lasts, standing)
            finally:
                self._seen_at = self._now()
        if not self._useful:
            raise ApiUnreachableError("the API server ended a watch at once")

    async def _take(self, stream: WatchStream) -> None:
        async for events in stream:
            self._apply(events)
            if events:
                self._works()

    def _answered(self) -> bool:
        """After an outage the first answer releases all others. Whether there is no reason to doubt that it helps."""
        trusted = not self._unwell.failures
        if trusted and self._away.failures:
            self._away.reset()
            self._gate.release()
        return trusted

    def _works(self) -> bool:
        """The watch is of use. Whether that ends a problem."""
        self._useful = True
        self._away.reset()
        self._unwell.reset()
        return self.cache.clear_error()

    def _lasts(self) -> None:
        """After watches that ended at once only this shows that others may try too."""
        if self._works():
            self._gate.release()

    def _stands(self) -> None:
        self._stood = True

    def _slow(self) -> None:
        if not self._accepted:
            asked = f"{'list' if self._version is None else 'watch'} {self._name}"
            self._report(
                ApiUnreachableError(f"cannot {asked} yet: {self._client.url} has not answered"), forbidden=False
            )

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
        """Take note of it; returns the seconds to wait."""
        if expired := isinstance(error, ExpiredError | MalformedError):
            self._version = None
            self._away.reset()  # it answers
        pause = (self._unwell if expired or (self._accepted and not self._stood) else self._away).next()
        forbidden = isinstance(error, ApiForbiddenError)
        # A connection that breaks once and comes back at once is no news to anyone who has the objects.
        if forbidden or self._failures > 1 or not self.cache.synced:
            self._report(error, forbidden=forbidden)
        logger.debug("%s: %s; again in %.2f s", self._name, error, pause)
        return FORBIDDEN_PAUSE if forbidden and not self.cache.synced else pause

    def _report(self, error: ClusterError, *, forbidden: bool) -> None:
        text = str(error)
        if self._seen_at is not None:
            text += f"; what is known of {self._name} is from {self._seen_at:%H:%M:%S}"
        if self.cache.set_error(Problem(text, forbidden=forbidden)):
            logger.info("%s", text)

    @property
    def _failures(self) -> int:
        """In a row."""
        return self._away.failures + self._unwell.failures

    @property
    def _name(self) -> str:
        plural, namespace = self._watch.kind.plural, self._watch.namespace
        return f"{plural} in namespace {namespace}" if namespace else plural


T = TypeVar("T")


async def call_if_slow(seconds: float, act: Callable[[], None], work: Callable[[], Awaitable[T]]) -> T:
    """What `work` returns or raises, never in a group; `act` is called once `work` has run for so many seconds."""
    results: list[T] = []
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_act_after, seconds, act)
        try:
            results.append(await work())
        except Exception as error:  # noqa: BLE001 - raised again below, outside the nursery
            failures.append(error)
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]
    return results[0]


async def _act_after(seconds: float, act: Callable[[], None]) -> None:
    await trio.sleep(seconds)
    act()
