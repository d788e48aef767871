"""Skaffold's port events in both directions: which ports Skaffold forwards itself, and posting ours to Skaffold.

IDEs listen for these events. Skaffold reports failed forwards too, and never the end of a forward: a later event
replaces an earlier one. It forgets posted events at each deploy (event/v2, ResetStateOnDeploy). Posting is optional:
a failure is logged once and costs no forward.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec
import trio
from msgspec import Struct

from forwarders.backoff import Backoff
from forwarders.spec import MAX_PORT
from watcher.errors import SkaffoldError
from watcher.skaffold.events import PortEvent, iteration_of
from watcher.skaffold.http_request import connect_api, parse_api_address, post_event

log = logging.getLogger("portside.skaffold")

# Our posted events come back on the stream with the id they were posted with; Skaffold leaves the id of its own empty.
ECHO_ID = "portside"
# Skaffold has some dozens. More, which any user could post, are ignored: each costs time at every change.
MOST_OWN_FORWARDS = 512
# Seconds. A Skaffold on this machine answers at once; a frozen one must not be waited for.
_POST_TIMEOUT = 5.0
# Seconds between two attempts, first and last: a frozen Skaffold must not be filled with requests.
PAUSES = 1.0, 30.0

SkaffoldForwardKey = tuple[str, str, str, int | str]
# The stream and the deploy since which Skaffold knows what was posted; None while no Skaffold is attached.
Occasion = tuple[int, int]


class SkaffoldForward(Struct, frozen=True, kw_only=True):
    """A forward of Skaffold's own, with whose local port portside does not compete.

    `resource_type` is lower case; `iteration`: of the loop that reported it last.
    """

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
    def key(self) -> SkaffoldForwardKey:
        return (self.resource_type, self.resource_name, self.namespace, self.target_port)

    @property
    def place(self) -> tuple[str, int]:
        return self.address, self.local_port


SkaffoldForwards = dict[SkaffoldForwardKey, SkaffoldForward]


def with_forward(forwards: SkaffoldForwards, new: SkaffoldForward) -> SkaffoldForwards:
    """Adds `new` and drops what had its key or its local address. An older event changes nothing."""
    at_its_place = [key for key, own in forwards.items() if own.local_port == new.local_port and own.place == new.place]
    rivals = forwards.keys() & {new.key, *at_its_place}
    if any(new.at < forwards[key].at for key in rivals) or len(forwards) - len(rivals) >= MOST_OWN_FORWARDS:
        return forwards
    return {key: own for key, own in forwards.items() if key not in rivals} | {new.key: new}


def renewed(forwards: SkaffoldForwards, since: int, *, but_pods: bool = False) -> SkaffoldForwards:
    """Keeps the forwards reported in loop `since` or later, and with `but_pods` every pod's."""
    return {
        key: own for key, own in forwards.items() if own.iteration >= since or (but_pods and own.resource_type == "pod")
    }


def own_forward(event: PortEvent, at: datetime) -> SkaffoldForward | None:
    """The forward that Skaffold reports; None if another client posted the event.

    Skaffold leaves the id blank and sets the task id to `PortForward-N` (event/v2/event.go).
    """
    iteration = iteration_of(event.task_id, "PortForward")
    if event.id or iteration is None or not 0 < event.local_port <= MAX_PORT:
        return None
    return SkaffoldForward(
        resource_type=event.resource_type.lower(),
        resource_name=event.resource_name,
        namespace=event.namespace,
        target_port=event.target_port.value if event.target_port else 0,
        container_name=event.container_name,
        address=event.address,
        local_port=event.local_port,
        iteration=iteration,
        at=at,
    )


def moved(these: SkaffoldForwards, others: SkaffoldForwards) -> list[SkaffoldForward]:
    """The forwards of `these` that `others` does not have, or has at another local address."""
    return [own for key, own in these.items() if key not in others or others[key].place != own.place]


class PostedForward(Struct, frozen=True, kw_only=True, rename="camel"):
    """A forward of ours as Skaffold's portEvent describes it. `target_port`: number or name, as requested.

    For a pod's container `pod_name` and `port_name` are set, since debuggers look for them.
    """

    resource_type: str
    resource_name: str
    namespace: str
    container_name: str
    pod_name: str = ""
    port_name: str = ""
    target_port: int | str
    address: str
    local_port: int

    @property
    def event(self) -> dict[str, object]:
        """The JSON object to post to /v2/events/handle (proto/v2/skaffold.proto, Event.portEvent)."""
        port = self.target_port
        name = self.port_name or (port if isinstance(port, str) else "")
        target = {"type": 0, "intVal": port} if isinstance(port, int) else {"type": 1, "strVal": port}
        return {"portEvent": msgspec.to_builtins(self) | {"id": ECHO_ID, "portName": name, "targetPort": target}}


class PublishedState(Struct, frozen=True):
    """What Skaffold was told, and since when it remembers that."""

    occasion: Occasion = (0, 0)
    forwards: frozenset[PostedForward] = frozenset()


def due(
    published: PublishedState, occasion: Occasion | None, forwards: Iterable[PostedForward]
) -> tuple[PublishedState, tuple[PostedForward, ...]]:
    """The forwards to post now, in order, and the state after that. Pure."""
    if occasion is None:
        return published, ()
    known = published.forwards if published.occasion == occasion else frozenset()
    new = tuple(dict.fromkeys(forward for forward in forwards if forward not in known))
    return PublishedState(occasion, known | frozenset(new)), new


class Publisher:
    """Posts `forwards()` to the Skaffold at `url` after each `touch`."""

    def __init__(
        self,
        url: str,
        occasion: Callable[[], Occasion | None],
        forwards: Callable[[], Iterable[PostedForward]],
        backoff: Backoff,
    ) -> None:
        self._address = parse_api_address(url)
        self._occasion = occasion
        self._forwards = forwards
        self._backoff = backoff
        self._published = PublishedState()
        self._touched = trio.Event()

    def touch(self) -> None:
        self._touched.set()

    async def run(self) -> None:
        """Post until cancelled, one request at a time; changes during a request are handled together."""
        while True:
            await self._touched.wait()
            self._touched = trio.Event()
            published, new = due(self._published, self._occasion(), self._forwards())
            if not new:
                continue
            if await self._post(new):
                self._published = published
                self._backoff.reset()
                continue
            # A change is as good a moment to retry as the end of the pause.
            with trio.move_on_after(self._backoff.next()):
                await self._touched.wait()
            self.touch()

    async def _post(self, forwards: Iterable[PostedForward]) -> bool:
        """Posts the forwards; returns whether all arrived. If not, the caller posts all of them again."""
        try:
            for forward in forwards:
                with trio.fail_after(_POST_TIMEOUT):
                    await post_event(connect_api, self._address, forward.event)
        except (OSError, trio.TooSlowError, SkaffoldError) as error:
            if not self._backoff.failures:
                problem = str(error) or f"no answer within {_POST_TIMEOUT:.0f} s"
                log.info("Skaffold's event API did not accept portside's forwards: %s; trying again", problem)
            return False
        return True
