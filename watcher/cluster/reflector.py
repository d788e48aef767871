"""Owns one list-and-watch, for ever: list, mark as synced, watch from there, resume, list again where it must.

Refuses policy: it keeps a shelf of the store true. The rules are those of client-go's tools/cache/reflector.go and
kube-rs' watcher.rs: lists are consistent reads (no resourceVersion), a broken watch resumes from the last version it
got, only an expired version (410, or 504 "Too large resource version") leads to a new list.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Never

import trio

from watcher.cluster.backoff import Backoff
from watcher.cluster.client import Client
from watcher.cluster.errors import ClusterError, ExpiredError, ForbiddenError, MalformedError, UnreachableError
from watcher.cluster.store import Problem, Shelf
from watcher.cluster.wire import Change, WatchEvent

logger = logging.getLogger("portside.cluster")

# client-go's timeoutSeconds: between this and twice this, so that not all watches end at once.
MIN_WATCH_SECONDS = 300
# A watch that stood this long or brought something worked: all else is a failure, also without an error (client-go's
# VeryShortWatchError).
STEADY = 1.0
FIRST_BACKOFF, LAST_BACKOFF = 0.05, 5.0
# Rights are given by people: a role that is missing may come later.
FORBIDDEN_PAUSE = 15.0


class Reflector:
    """Keeps one shelf. `on_recovery` is called when the API answers after a problem; `now` dates what may be old."""

    def __init__(
        self,
        client: Client,
        shelf: Shelf,
        random: Random,
        on_recovery: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self.shelf = shelf
        self._client = client
        self._watch = shelf.watch
        self._random = random
        self._on_recovery = on_recovery
        self._now = now
        self._backoff = Backoff(random, FIRST_BACKOFF, LAST_BACKOFF)
        self._version: str | None = None  # None: a list is due
        self._seen_at: datetime | None = None
        self._hurry = trio.Event()

    async def run(self) -> Never:
        """Lists and watches until cancelled; a ClusterError is a problem on the shelf, and never ends it."""
        self._version = None
        while True:
            try:
                await self._list_and_watch()
            except ClusterError as error:
                pause = self._failed(error)
                with trio.move_on_after(pause):
                    await self._hurry.wait()

    def hurry(self) -> None:
        """What kept this from working may be over: try again now."""
        self._hurry.set()

    async def _list_and_watch(self) -> None:
        if self._version is None:
            listed = await self._client.list(self._watch)
            self.shelf.replace(listed.objects)
            self._version = listed.resource_version
        await self._follow(self._version)

    async def _follow(self, version: str) -> None:
        """One watch request, until the API server ends it in good order."""
        seconds = int(self._random.uniform(MIN_WATCH_SECONDS, 2 * MIN_WATCH_SECONDS))
        async with self._client.watch(self._watch, version, seconds) as stream:
            began, worked = trio.current_time(), False
            if self.shelf.well():
                self._on_recovery()
            try:
                async for events in stream:
                    self._apply(events)
                    worked = worked or bool(events)
            finally:
                self._seen_at = self._now()
                worked = worked or trio.current_time() - began >= STEADY
                if worked:
                    self._backoff.reset()
        if not worked:
            raise UnreachableError("the API server ended a watch at once")

    def _apply(self, events: list[WatchEvent]) -> None:
        for event in events:
            match event.change:
                case Change.ADDED | Change.MODIFIED:
                    self.shelf.put(event.object)
                case Change.DELETED:
                    self.shelf.drop(event.object)
                case Change.BOOKMARK:
                    pass
            self._version = event.object.metadata.resource_version or self._version

    def _failed(self, error: ClusterError) -> float:
        """Take note of it; returns the seconds to wait."""
        self._hurry = trio.Event()
        if isinstance(error, ExpiredError | MalformedError):
            self._version = None
        pause = self._backoff.next()
        forbidden = isinstance(error, ForbiddenError)
        # A connection that breaks once and comes back at once is no news to anyone who has the objects.
        if forbidden or self._backoff.failures > 1 or not self.shelf.synced:
            self._report(error, forbidden=forbidden)
        logger.debug("%s: %s; again in %.2f s", self._name, error, pause)
        return FORBIDDEN_PAUSE if forbidden else pause

    def _report(self, error: ClusterError, *, forbidden: bool) -> None:
        text = str(error)
        if self._seen_at is not None:
            text += f"; what is known of {self._name} is from {self._seen_at:%H:%M:%S}"
        if self.shelf.trouble(Problem(text, forbidden=forbidden)):
            logger.info("%s", text)

    @property
    def _name(self) -> str:
        plural, namespace = self._watch.kind.plural, self._watch.namespace
        return f"{plural} in namespace {namespace}" if namespace else plural
