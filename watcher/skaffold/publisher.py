"""Owns telling Skaffold of our forwards: portEvents to POST /v2/events/handle, so that IDEs that listen there see them.

Refuses to matter: whatever happens here is said at most once, costs no forward, and never waits in another's way.
Skaffold forgets what it was told at each deploy (skaffold pkg/skaffold/event/v2, ResetStateOnDeploy).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

import httpx
import msgspec
import trio
from msgspec import Struct

from forwarders.backoff import Backoff
from watcher.skaffold.address import parse_address
from watcher.skaffold.marks import PATH
from watcher.skaffold.own_forwards import ECHO_ID
from watcher.skaffold.state import SkaffoldFacts

log = logging.getLogger("portside.skaffold")

# A Skaffold on this machine answers at once; one that is frozen must not be waited for.
_TIMEOUT = 5.0
# Between two tries of what did not arrive, first and last: one that is frozen is not to be filled with requests.
PAUSES = 1.0, 30.0


class Forwarded(Struct, frozen=True, kw_only=True):
    """One forward as Skaffold's portEvent has it. `target_port`: number or name, as asked for.

    Of a pod's container it names the pod and the port, as debuggers look for them; `pod`, `port_name` are "" else.
    """

    resource_type: str
    resource_name: str
    namespace: str
    container: str
    pod: str = ""
    port_name: str = ""
    target_port: int | str
    address: str
    local_port: int


class Told(Struct, frozen=True):
    """What this Skaffold knows: `occasion` is the stream and the deploy since which it does."""

    occasion: tuple[int, int] = (0, 0)
    forwards: frozenset[Forwarded] = frozenset()


def due(told: Told, facts: SkaffoldFacts, forwards: Iterable[Forwarded]) -> tuple[Told, tuple[Forwarded, ...]]:
    """What to tell now, in order, and what is known then. Nothing while no Skaffold is there. Pure."""
    if not facts.attached:
        return told, ()
    occasion = (facts.connections, facts.deploys)
    known = told.forwards if told.occasion == occasion else frozenset()
    new = tuple(dict.fromkeys(forward for forward in forwards if forward not in known))
    return Told(occasion, known | frozenset(new)), new


def body(forward: Forwarded) -> bytes:
    """The request: proto/v2/skaffold.proto, Event.portEvent."""
    port = forward.target_port
    target = {"type": 0, "intVal": port} if isinstance(port, int) else {"type": 1, "strVal": port}
    event: Mapping[str, object] = {
        "id": ECHO_ID,
        "localPort": forward.local_port,
        "address": forward.address,
        "resourceType": forward.resource_type,
        "resourceName": forward.resource_name,
        "namespace": forward.namespace,
        "podName": forward.pod,
        "containerName": forward.container,
        "portName": forward.port_name or (port if isinstance(port, str) else ""),
        "targetPort": target,
    }
    return msgspec.json.encode({"portEvent": event})


class Publisher:
    """Tells the Skaffold at `url` of `forwards()`, whenever `touch` says that something has changed."""

    def __init__(
        self,
        url: str,
        facts: Callable[[], SkaffoldFacts],
        forwards: Callable[[], Iterable[Forwarded]],
        backoff: Backoff,
    ) -> None:
        self._url = parse_address(url).url + PATH
        self._facts = facts
        self._forwards = forwards
        self._backoff = backoff
        self._told = Told()
        self._touched = trio.Event()
        self._said = False

    def touch(self) -> None:
        self._touched.set()

    async def run(self) -> None:
        """Never returns. One request at a time; any number of changes meanwhile are one."""
        while True:
            await self._touched.wait()
            self._touched = trio.Event()
            told, new = due(self._told, self._facts(), self._forwards())
            if not new:
                continue
            if await self._tell(new):
                self._told = told
                self._backoff.reset()
                continue
            # A change is as good a moment as the end of the pause.
            with trio.move_on_after(self._backoff.next()):
                await self._touched.wait()
            self.touch()

    async def _tell(self, forwards: Iterable[Forwarded]) -> bool:
        """Whether all of it arrived; else it is all tried again while that Skaffold is there."""
        # No connection is kept: an idle one would be nothing to Skaffold but something to close at its end.
        async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT) as client:
            try:
                for forward in forwards:
                    async with client.stream("POST", self._url, content=body(forward)) as answer:
                        answer.raise_for_status()
                        # Read to its end, or Skaffold may end; as it comes, or httpx unpacks whatever stands there.
                        async for _ in answer.aiter_raw():
                            pass
            except httpx.HTTPError as error:
                if not self._said:
                    log.info("Skaffold was not told of the forwards: %s: %s", type(error).__name__, error)
                self._said = True
                return False
        self._said = False
        return True
