"""Owns one watch's objects: found by key, by label, or all; and which of them somebody has looked at.

Refuses selectors beyond equal labels. A namespace may hold thousands of pods that are none of ours: finding ours costs
what they are, and what nobody looked at may change without a word.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import TypeVar

from msgspec.structs import replace

from watcher.cluster.objects import Resource

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
