"""Owns what is known of the cluster: the objects of every synced watch, and why others have none.

Refuses IO and policy.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from types import MappingProxyType
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from watcher.cluster.kinds import Kind, Object, Resource


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


Key = tuple[str, str]
R = TypeVar("R", bound=Resource)


class Collection(Mapping[Key, R]):
    """`put` and `drop` return whether those who have looked since it was last so would see something else now."""

    def __init__(self, items: Iterable[R] = ()) -> None:
        self._items: dict[Key, R] = {}
        self._by_label: dict[tuple[str, str], dict[Key, R]] = {}
        self._looked_at = _LookedAt()
        for item in items:
            self._keep(key_of(item), item)

    # To look

    def __getitem__(self, key: Key) -> R:
        self._looked_at.keys.add(key)
        return self._items[key]

    def __iter__(self) -> Iterator[Key]:
        self._looked_at.all = True
        return iter(self._items)

    def __len__(self) -> int:
        self._looked_at.all = True
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return self._items == (other._items if isinstance(other, Collection) else other)

    __hash__ = None  # type: ignore[assignment] # as a dict

    def values(self) -> ValuesView[R]:
        self._looked_at.all = True
        return self._items.values()

    def items(self) -> ItemsView[Key, R]:
        self._looked_at.all = True
        return self._items.items()

    def labelled(self, labels: Mapping[str, str]) -> Iterable[R]:
        """Those that have all these labels; all where there are none."""
        if not labels:
            return self.values()
        self._looked_at.labels.add(frozenset(labels.items()))
        fewest = min((self._by_label.get(label, {}) for label in labels.items()), key=len)
        return [item for item in fewest.values() if _labels(item).items() >= labels.items()]

    # To keep true

    def put(self, item: R) -> bool:
        """Added, or in the place of the one with its key."""
        key = key_of(item)
        before = self._forget(key)
        self._keep(key, item)
        return not (before and _is_same(before, item)) and self._was_seen(key, before, item)

    def drop(self, item: R) -> bool:
        """Gone, if it was there."""
        key = key_of(item)
        before = self._forget(key)
        return before is not None and self._was_seen(key, before)

    def _was_seen(self, key: Key, *states: R | None) -> bool:
        seen = self._looked_at.includes(key, [_labels(state) for state in states if state is not None])
        if seen:
            self._looked_at = _LookedAt()  # they are told, and look again at what they still want to know
        return seen

    def _keep(self, key: Key, item: R) -> None:
        self._items[key] = item
        for label in _labels(item).items():
            self._by_label.setdefault(label, {})[key] = item

    def _forget(self, key: Key) -> R | None:
        before = self._items.pop(key, None)
        for label in _labels(before).items() if before is not None else ():
            there = self._by_label[label]
            del there[key]
            if not there:
                del self._by_label[label]
        return before


class _LookedAt:
    """All of it, or single keys and labels."""

    def __init__(self) -> None:
        self.all = False
        self.keys: set[Key] = set()
        self.labels: set[frozenset[tuple[str, str]]] = set()

    def includes(self, key: Key, states: Iterable[Mapping[str, str]]) -> bool:
        """An object with this key, of which these are the labels before and after."""
        if self.all or key in self.keys:
            return True
        return any(asked <= labels.items() for asked in self.labels for labels in states)


def labelled(objects: Mapping[Key, R], labels: Mapping[str, str]) -> Iterable[R]:
    """`Collection.labelled`, of any mapping."""
    if isinstance(objects, Collection):
        return objects.labelled(labels)
    return [item for item in objects.values() if _labels(item).items() >= labels.items()]


def key_of(item: Resource) -> Key:
    """(namespace, name) of an object."""
    return item.metadata.namespace, item.metadata.name


def _labels(item: Resource) -> Mapping[str, str]:
    return item.metadata.labels or {}


def _is_same(before: Resource, item: Resource) -> bool:
    """In all the fields we read; the version is between the watch and the API server."""
    version = item.metadata.resource_version
    return replace(before, metadata=replace(before.metadata, resource_version=version)) == item
