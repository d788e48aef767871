"""Owns what is known of the cluster: the objects of every synced watch, and why others have none.

Refuses IO and policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from msgspec import Struct

from watcher.cluster.collection import Collection, Key
from watcher.cluster.kinds import Kind
from watcher.cluster.objects import Object, Resource


class Watch(Struct, frozen=True):
    """One list-and-watch: a kind in a namespace ("" = all of them), narrowed by the API's own selectors.

    `cluster`: which one, "" for the default; a cluster's own store and plan leave it out.
    """

    kind: Kind
    namespace: str
    label_selector: str = ""
    field_selector: str = ""
    cluster: str = ""


class Problem(Struct, frozen=True):
    """Why a watch has no objects, or only old ones. `forbidden`: the API said 403, so asking less may work."""

    text: str
    forbidden: bool = False


class Snapshot(Struct, frozen=True):
    """`objects` has a key for each watch whose first list has ended; its values are keyed (namespace, name)."""

    objects: Mapping[Watch, Mapping[Key, Object]] = {}
    problems: Mapping[Watch, Problem] = {}

    def synced(self, watch: Watch) -> bool:
        return watch in self.objects


class OtherCluster(Struct, frozen=True):
    """A cluster beside the default one. `namespace`: the context's, or "". `problem`: why it cannot be used at all."""

    context: str
    cluster: Snapshot = Snapshot()
    namespace: str = ""
    problem: str = ""


class Store:
    """The one mutable thing behind a live Snapshot.

    `on_change` is called, synchronously, after whatever changed it; of single objects, after changes of those that
    somebody has looked at since the last call.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.objects: dict[Watch, Collection[Resource]] = {}
        self.problems: dict[Watch, Problem] = {}
        self.on_change = on_change
        self.snapshot = Snapshot(MappingProxyType(self.objects), MappingProxyType(self.problems))

    def cache_for(self, watch: Watch) -> WatchCache:
        """The place for one watch's objects. One at a time for each watch."""
        return WatchCache(self, watch)


class WatchCache:
    """One watch's part of a store. Once closed it is empty and takes nothing more."""

    def __init__(self, store: Store, watch: Watch) -> None:
        self.watch = watch
        self._store = store
        self._closed = False

    @property
    def synced(self) -> bool:
        """Whether a list has ended."""
        return self.watch in self._store.objects

    def replace(self, objects: tuple[Resource, ...]) -> None:
        """A list has ended: these are all there are. What is not among them is gone."""
        found = Collection(objects)
        if not self._closed and self._store.objects.get(self.watch) != found:
            self._store.objects[self.watch] = found
            self._store.on_change()

    def put(self, item: Resource) -> None:
        """An object was added or modified."""
        if not self._closed and self._store.objects[self.watch].put(item):
            self._store.on_change()

    def drop(self, item: Resource) -> None:
        """An object was deleted, or no longer matches the selectors."""
        if not self._closed and self._store.objects[self.watch].drop(item):
            self._store.on_change()

    def set_error(self, problem: Problem) -> bool:
        """The watch cannot say what there is; what it said before stays. Returns whether that is news."""
        if self._closed or self._store.problems.get(self.watch) == problem:
            return False
        self._store.problems[self.watch] = problem
        self._store.on_change()
        return True

    def clear_error(self) -> bool:
        """The watch sees what there is. Returns whether that is news."""
        if self._closed or self._store.problems.pop(self.watch, None) is None:
            return False
        self._store.on_change()
        return True

    def close(self) -> None:
        """Nobody asks any more. No `on_change`: whoever stopped asking knows."""
        self._closed = True
        self._store.objects.pop(self.watch, None)
        self._store.problems.pop(self.watch, None)
