"""Owns one list-and-watch, for ever: list, mark as synced, watch from there, resume, list again where it must.

Refuses policy: it keeps `objects` and `problem` true and says when they changed. After client-go's reflector.go and
kube-rs' watcher.rs: what vanished while nobody watched is dropped when the next list ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import Random

import trio

from watcher.cluster.client import Client
from watcher.cluster.errors import LIST_AGAIN, ApiError, ClusterError
from watcher.cluster.lines import WatchDecoder, WatchEvent
from watcher.cluster.objects import Meta, Object
from watcher.cluster.store import Problem, Watch

logger = logging.getLogger("portside.cluster")

# The server ends a watch after 5 to 10 minutes (client-go's minWatchTimeout): a lost one is noticed by then at the
# latest, and not all at once.
WATCH_SECONDS = 300
FIRST_BACKOFF, LAST_BACKOFF = 0.05, 5.0
# A role that is missing may be given later.
FORBIDDEN_PAUSE = 15.0

Key = tuple[str, str]


class Reflector:
    """`objects` is None until the first list has ended. `on_change` is called after each change, synchronously."""

    def __init__(self, client: Client, watch: Watch, on_change: Callable[[], None], random: Random) -> None:
        self.watch = watch
        self.objects: dict[Key, Object] | None = None
        self.problem: Problem | None = None
        self._client = client
        self._on_change = on_change
        self._random = random
        self._version = ""

    async def run(self) -> None:
        """Never returns."""
        backoff = 0.0
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._follow()
                backoff = 0.0
            except ClusterError as error:
                code = error.code if isinstance(error, ApiError) else 0
                if code in LIST_AGAIN:
                    self._version = ""
                else:
                    self._trouble(error, forbidden=code == 403)
                    if isinstance(error, ApiError):
                        self._version = ""
                backoff = FORBIDDEN_PAUSE if code == 403 else min(max(2 * backoff, FIRST_BACKOFF), LAST_BACKOFF)
                await trio.sleep(backoff * self._random.uniform(0.5, 1.0))
                if code == 403:
                    backoff = 0.0

    async def _list(self) -> None:
        found: dict[Key, Object] = {}
        token = ""
        while True:
            page = await self._client.page(self.watch, token)
            found.update((_key(item), item) for item in page.items)
            token = page.continue_token
            if not token:
                break
        self._version = page.resource_version
        self.problem = None
        if self.objects is None:
            self.objects = found
        else:
            # In place: others hold a view of this mapping.
            self.objects.clear()
            self.objects.update(found)
        self._on_change()

    async def _follow(self) -> None:
        """Returns when the server ends the watch in good order."""
        seconds = int(WATCH_SECONDS * self._random.uniform(1, 2))
        decoder = WatchDecoder(self.watch.kind.decodes_to)
        async with self._client.watch(self.watch, self._version, seconds) as pieces:
            if self.problem is not None:
                self.problem = None
                self._on_change()
            async for piece in pieces:
                events = decoder.feed(piece)
                changed = [self._apply(event) for event in events]
                if any(changed):
                    self._on_change()

    def _apply(self, event: WatchEvent) -> bool:
        meta = _meta(event.object)
        self._version = meta.resource_version or self._version
        if self.objects is None or event.type == "BOOKMARK":
            return False
        if event.type == "DELETED":
            return self.objects.pop(_key(event.object), None) is not None
        self.objects[_key(event.object)] = event.object
        return True

    def _trouble(self, error: ClusterError, *, forbidden: bool) -> None:
        problem = Problem(str(error), forbidden=forbidden)
        if problem != self.problem:
            logger.info("%s in %s: %s", self.watch.kind.plural, self.watch.namespace or "all namespaces", error)
            self.problem = problem
            self._on_change()


def _meta(item: Object) -> Meta:
    meta = getattr(item, "metadata", None)
    return meta if isinstance(meta, Meta) else Meta()


def _key(item: Object) -> Key:
    meta = _meta(item)
    return meta.namespace, meta.name
