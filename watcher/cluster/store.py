"""Owns what is known of the cluster: the objects of every synced watch, and why others have none.

Refuses IO and policy.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from watcher.cluster.kinds import Kind
from watcher.cluster.objects import Object


class Watch(Struct, frozen=True):
    """One list-and-watch: a kind in a namespace ("" = all of them), narrowed by the API's own selectors."""

    kind: Kind
    namespace: str
    label_selector: str = ""
    field_selector: str = ""


class Problem(Struct, frozen=True):
    """Why a watch has no objects, or only old ones. `forbidden`: the API said 403, so asking less may work."""

    text: str
    forbidden: bool = False


class Snapshot(Struct, frozen=True):
    """`objects` has a key for each watch whose first list has ended; its values are keyed (namespace, name)."""

    objects: Mapping[Watch, Mapping[tuple[str, str], Object]] = {}
    problems: Mapping[Watch, Problem] = {}

    def synced(self, watch: Watch) -> bool:
        return watch in self.objects
