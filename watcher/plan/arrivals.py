"""Owns pods that are on their way: which of them a session can stand to already, and what is watched to know. Pure.

A pod without probes is Running and Ready in one moment, up to a second after its containers have started, for the
kubelet looks at them once a second. A session needs no container, only the sandbox; and of that the kubelet's event
"Pulled" (an image is there, which comes after the sandbox and before the container) tells as soon as it is true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from watcher.cluster import kinds
from watcher.cluster.collection import Key
from watcher.cluster.objects import Event, Pod
from watcher.cluster.store import Snapshot, Watch


def pulled_in(namespace: str) -> Watch:
    return Watch(kinds.EVENT, namespace, field_selector="involvedObject.kind=Pod,reason=Pulled")


def sandboxes(namespace: str, cluster: Snapshot) -> Mapping[Key, Event]:
    """The events that tell of one; none where they may not be read: then a pod's status tells, later."""
    return cast("Mapping[Key, Event]", cluster.objects.get(pulled_in(namespace), {}))


def with_sandbox(starting: Iterable[Pod], sandboxes: Mapping[Key, Event]) -> list[Pod]:
    pods = list(starting)
    told = {event.involved_object.uid for event in sandboxes.values()} if pods else set()
    return [pod for pod in pods if pod.has_sandbox or pod.metadata.uid in told]
