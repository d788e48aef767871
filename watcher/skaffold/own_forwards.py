"""Owns the forwards that Skaffold itself holds, as its portEvents tell of them: what is Skaffold's, what replaced what.

Refuses to believe more than they say: the event is sent for failed forwards too, and never when a forward ends.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from watcher.skaffold.events import PortEvent

# What portside posts to /v2/events/handle comes back on its own stream with the id it was posted with; Skaffold leaves
# the id of its own portEvents empty.
ECHO_ID = "portside"
_TASK = "PortForward-"

OwnForwardKey = tuple[str, str, str, int | str]
OwnForwards = dict[OwnForwardKey, "OwnForward"]


class OwnForward(Struct, frozen=True, kw_only=True):
    """One forward of Skaffold's. `resource_type` is lower case; `iteration`: of the loop that announced it last."""

    resource_type: str
    resource_name: str
    namespace: str
    target_port: int | str
    container_name: str
    address: str
    local_port: int
    iteration: int
    at: datetime

    @property
    def key(self) -> OwnForwardKey:
        return (self.resource_type, self.resource_name, self.namespace, self.target_port)

    @classmethod
    def from_event(cls, event: PortEvent, at: datetime) -> OwnForward:
        return cls(
            resource_type=event.resource_type.lower(),
            resource_name=event.resource_name,
            namespace=event.namespace,
            target_port=event.target_port.value if event.target_port else 0,
            container_name=event.container_name,
            address=event.address,
            local_port=event.local_port,
            iteration=int(event.task_id.removeprefix(_TASK)),
            at=at,
        )


def is_skaffolds(event: PortEvent) -> bool:
    """Whether Skaffold sent this: no id, and the task id `PortForward-N` that it always sets (event/v2/event.go)."""
    number = event.task_id.removeprefix(_TASK)
    ours_or_posted = event.id != "" or number == event.task_id or not (number.isascii() and number.isdigit())
    return not ours_or_posted and event.local_port > 0


def superseded(forwards: OwnForwards, new: OwnForward) -> OwnForwards:
    """`forwards` with `new`; whatever had its key, or its local address, is gone. An older one changes nothing."""
    rivals = [f for f in forwards.values() if f.key == new.key or _place(f) == _place(new)]
    if any(new.at < f.at for f in rivals):
        return forwards
    return {key: f for key, f in forwards.items() if f not in rivals} | {new.key: new}


def renewed(forwards: OwnForwards, since: int, *, but_pods: bool = False) -> OwnForwards:
    """Those announced in loop `since` or later, and with `but_pods` all of the pods'."""
    return {key: f for key, f in forwards.items() if f.iteration >= since or (but_pods and f.resource_type == "pod")}


def _place(forward: OwnForward) -> tuple[str, int]:
    return forward.address, forward.local_port
