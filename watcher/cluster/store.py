"""The objects of one cluster by watch, indexed by key and label, and the errors of watches that have none. No IO.

It records which objects were read: a namespace may hold thousands of pods that no forward needs, and their changes
cause no new plan.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Set, ValuesView
from types import MappingProxyType
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from watcher.cluster.kinds import POD, Kind, Object, Pod, Resource


class Watch(Struct, frozen=True):
    """One list-and-watch: a kind in a namespace ("": all namespaces), narrowed by the API's selectors.

    `cluster`: the context, "" for the default cluster. Inside the store and the plan of one cluster it is "".
    """

    kind: Kind
    namespace: str
    label_selector: str = ""
    field_selector: str = ""
    cluster: str = ""


class Problem(Struct, frozen=True):
    """Why a watch has no objects, or only old ones. `forbidden`: 403, so a narrower watch may be allowed."""

    text: str
    forbidden: bool = False


class Snapshot(Struct, frozen=True):
    """What the watches show now. `objects`: by watch whose first list has ended, then by (namespace, name).

    `outdated`: the watches whose objects may be older than the last deploy, until they are listed again.
    """

    objects: Mapping[Watch, Mapping[Key, Object]] = {}
    problems: Mapping[Watch, Problem] = {}
    outdated: Set[Watch] = frozenset()

    def synced(self, watch: Watch) -> bool:
        return watch in self.objects

    def is_behind(self, watch: Watch) -> bool:
        """Whether the watch's objects are missing, or may be older than the last deploy."""
        return not self.synced(watch) or watch in self.outdated

    def pod(self, namespace: str, name: str, uid: str) -> Pod | None:
        """The pod, as a watch without a problem shows it; None also if another pod has its name."""
        for watch, objects in self.objects.items():
            if watch.kind is POD and watch not in self.problems:
                found = objects.get((namespace, name))
                if isinstance(found, Pod) and found.metadata.uid == uid:
                    return found
        return None


class OtherCluster(Struct, frozen=True):
    """A cluster other than the default one. `namespace`: the context's, or "". `problem`: why it cannot be used."""

    context: str
    cluster: Snapshot = Snapshot()
    namespace: str = ""
    problem: str = ""


class Store:
    """Stores the objects of all watches; its Snapshot shows the current state.

    Calls `on_change` synchronously after each change. A change of a single object counts if it was read since the last
    call.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.objects: dict[Watch, Collection[Resource]] = {}
        self.problems: dict[Watch, Problem] = {}
        self.outdated: set[Watch] = set()
        self.on_change = on_change
        self.snapshot = Snapshot(MappingProxyType(self.objects), MappingProxyType(self.problems), self.outdated)


class WatchCache:
    """Stores the objects of one watch; at most one is open for each watch. Once closed it stays empty."""

    def __init__(self, store: Store, watch: Watch) -> None:
        self.watch = watch
        self._store = store
        self._closed = False

    @property
    def synced(self) -> bool:
        """Whether this watch's first list has ended."""
        return self.watch in self._store.objects

    def replace(self, objects: tuple[Resource, ...]) -> None:
        """Replace all objects by those of a list that has ended."""
        found = Collection(objects)
        if self._closed:
            return
        changed = self._store.objects.get(self.watch) != found
        if changed:
            self._store.objects[self.watch] = found
        if changed or self.watch in self._store.outdated:
            self._store.outdated.discard(self.watch)
            self._store.on_change()

    def mark_outdated(self) -> None:
        """Note, without `on_change`, that the objects may be older than the last deploy."""
        if self.synced:
            self._store.outdated.add(self.watch)

    def put(self, item: Resource) -> None:
        """Store an object that was added or modified."""
        if not self._closed and self._store.objects[self.watch].put(item):
            self._store.on_change()

    def drop(self, item: Resource) -> None:
        """Remove an object that was deleted, or no longer matches the selectors."""
        if not self._closed and self._store.objects[self.watch].drop(item):
            self._store.on_change()

    def set_error(self, problem: Problem) -> bool:
        """Note that the watch fails; its objects stay. Returns whether this is a new error."""
        if self._closed or self._store.problems.get(self.watch) == problem:
            return False
        self._store.problems[self.watch] = problem
        self._store.on_change()
        return True

    def clear_error(self) -> bool:
        """Note that the watch works. Returns whether it had an error."""
        if self._closed or self._store.problems.pop(self.watch, None) is None:
            return False
        self._store.on_change()
        return True

    def close(self) -> None:
        """Drop all objects without a call of `on_change`, because the watch is not wanted any more."""
        self._closed = True
        self._store.objects.pop(self.watch, None)
        self._store.problems.pop(self.watch, None)
        self._store.outdated.discard(self.watch)


Key = tuple[str, str]
R = TypeVar("R", bound=Resource)


class Collection(Mapping[Key, R]):
    """A mapping of objects, indexed by labels. `put` and `drop` return whether they changed what was read."""

    def __init__(self, items: Iterable[R] = ()) -> None:
        self._items: dict[Key, R] = {}
        self._by_label: dict[tuple[str, str], dict[Key, R]] = {}
        self._looked_at = _LookedAt()
        for item in items:
            self._keep(key_of(item), item)

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
        """The objects that have all these labels; all objects for no labels."""
        if not labels:
            return self.values()
        self._looked_at.labels.add(frozenset(labels.items()))
        fewest = min((self._by_label.get(label, {}) for label in labels.items()), key=len)
        if len(labels) == 1:
            return [*fewest.values()]
        return [item for item in fewest.values() if _labels(item).items() >= labels.items()]

    def put(self, item: R) -> bool:
        """Add an object, or replace the one with its key."""
        key = key_of(item)
        before = self._forget(key)
        self._keep(key, item)
        return not (before and _is_same(before, item)) and self._was_seen(key, before, item)

    def drop(self, item: R) -> bool:
        """Remove an object; no effect if it is missing."""
        key = key_of(item)
        before = self._forget(key)
        return before is not None and self._was_seen(key, before)

    def _was_seen(self, key: Key, *states: R | None) -> bool:
        seen = self._looked_at.includes(key, [_labels(state) for state in states if state is not None])
        if seen:
            self._looked_at = _LookedAt()  # the readers are notified, and read again what they need
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
    """Records what a reader read of a Collection: everything, or some keys and labels."""

    def __init__(self) -> None:
        self.all = False
        self.keys: set[Key] = set()
        self.labels: set[frozenset[tuple[str, str]]] = set()

    def includes(self, key: Key, states: Iterable[Mapping[str, str]]) -> bool:
        """Whether an object with this key was read. `states`: its labels before and after."""
        if self.all or key in self.keys:
            return True
        return any(asked <= labels.items() for asked in self.labels for labels in states)


def labelled(objects: Mapping[Key, R], labels: Mapping[str, str]) -> Iterable[R]:
    """The objects in a mapping that have all these labels, by the index if it is a Collection."""
    if isinstance(objects, Collection):
        return objects.labelled(labels)
    return [item for item in objects.values() if _labels(item).items() >= labels.items()]


def key_of(item: Resource) -> Key:
    """The key of an object: (namespace, name)."""
    return item.metadata.namespace, item.metadata.name


def _labels(item: Resource) -> Mapping[str, str]:
    return item.metadata.labels or {}


def _is_same(before: Resource, item: Resource) -> bool:
    """Whether both are equal in everything but resourceVersion."""
    version = item.metadata.resource_version
    return replace(before, metadata=replace(before.metadata, resource_version=version)) == item
