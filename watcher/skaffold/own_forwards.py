"""Keeps the forwards that Skaffold itself holds, as its portEvents report them.

Skaffold sends the event for failed forwards too, and never when a forward ends: a later event replaces an earlier one.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from watcher.skaffold.events import PortEvent

# What portside posts to /v2/events/handle comes back on its own stream with the id it was posted with; Skaffold leaves
# the id of its own portEvents empty.
ECHO_ID = "portside"
_TASK = "PortForward-"
# The digits of a loop's number: nobody saves a file more often.
_DIGITS = 9
# Skaffold holds some dozens. What anybody posts beyond this is passed over: each costs a look at every change.
MOST = 512
MAX_PORT = 65535

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

    @property
    def place(self) -> tuple[str, int]:
        return self.address, self.local_port


class Holdings(Struct, frozen=True):
    """Skaffold's own forwards by their key; `places` finds one by its local address."""

    forwards: OwnForwards = {}
    places: dict[tuple[str, int], OwnForwardKey] = {}

    def having(self, new: OwnForward) -> Holdings:
        """With `new` in place of what had its key or its local address; an older event changes nothing."""
        keys = {new.key, self.places.get(new.place, new.key)}
        rivals = [self.forwards[key] for key in keys if key in self.forwards]
        if any(new.at < rival.at for rival in rivals) or len(self.forwards) - len(rivals) >= MOST:
            return self
        forwards, places = dict(self.forwards), dict(self.places)
        for rival in rivals:
            del forwards[rival.key], places[rival.place]
        return Holdings(forwards | {new.key: new}, places | {new.place: new.key})

    def renewed(self, since: int, *, but_pods: bool = False) -> Holdings:
        """Those announced in loop `since` or later, and with `but_pods` all of the pods'."""
        kept = {
            key: own
            for key, own in self.forwards.items()
            if own.iteration >= since or (but_pods and own.resource_type == "pod")
        }
        return Holdings(kept, {own.place: key for key, own in kept.items()})


def own_forward(event: PortEvent, at: datetime) -> OwnForward | None:
    """The forward that Skaffold announces, None where somebody else posted the event.

    Skaffold leaves the id blank and sets the task id to `PortForward-N` (event/v2/event.go).
    """
    number = event.task_id.removeprefix(_TASK)
    is_number = number.isascii() and number.isdigit() and len(number) <= _DIGITS
    if event.id or number == event.task_id or not is_number or not 0 < event.local_port <= MAX_PORT:
        return None
    return OwnForward(
        resource_type=event.resource_type.lower(),
        resource_name=event.resource_name,
        namespace=event.namespace,
        target_port=event.target_port.value if event.target_port else 0,
        container_name=event.container_name,
        address=event.address,
        local_port=event.local_port,
        iteration=int(number),
        at=at,
    )


def moved(these: OwnForwards, others: OwnForwards) -> list[OwnForward]:
    """Those of `these` that `others` does not have, or has at another local address."""
    differ = [own for key, own in these.items() if others.get(key) is not own]
    return [own for own in differ if own.key not in others or others[own.key].place != own.place]
