"""The values that the plan, the forwards and their readers exchange: what is requested, and its current status.

Also the order in which local ports are tried. Nothing here does IO or reads a clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import Enum

from msgspec import Struct

from forwarders import HOLD, LINGER, MAX_WAITING, PATIENCE

# Skaffold's range of substitutes for local ports (pkg/skaffold/util/port.go).
SUBSTITUTES = range(4503, 4534)
MAX_PORT = 65535


def port_number(text: str) -> int | None:
    """The port that `text` is the number of; None for any other text."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_PORT))):
        return None
    return int(text) if 1 <= int(text) <= MAX_PORT else None


def authority(host: str, port: int | str) -> str:
    """host:port as in a URL; an IPv6 address gets brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class PortPolicy(Enum):
    """How firmly a local port is requested."""

    DEMANDED = "demanded"  # this port or none: kubectl's LOCAL:PORT, or --strict-ports
    EXPLICIT = "explicit"  # written by the user: no automatic forward may take it; if others have it, the next one
    PREFERRED = "preferred"  # follows from the remote port: this one if it is free
    AUTOMATIC = "automatic"  # nothing requested: Skaffold's range, then the system's choice
    SYSTEM = "system"  # kubectl's `:PORT`: the operating system chooses


class PortRequest(Struct, frozen=True):
    """A requested local port. `number` is 0 if `policy` is AUTOMATIC or SYSTEM."""

    policy: PortPolicy
    number: int = 0

    @property
    def reserved(self) -> bool:
        """Whether no other forward may get this port as a substitute."""
        return self.policy in {PortPolicy.DEMANDED, PortPolicy.EXPLICIT}


class PodRef(Struct, frozen=True):
    """One pod with one UID: a pod created again under the same name (a StatefulSet's) is another.

    `address`: of a container that is reached by TCP, without an API server; "" for a pod. `cluster`: the cluster of
    the pod, "" for the one that most forwards are in.
    """

    namespace: str
    name: str
    uid: str
    address: str = ""
    cluster: str = ""


class Endpoint(Struct, frozen=True):
    """A pod and its port for a forward. Until it is `running` it serves nothing, but sessions to it may be opened.

    `outdated`: the pod's owner has a newer revision, so it serves only while no pod of that revision can.
    `own_address`: the pod's, if connections may go there instead of through the API server.
    """

    pod: PodRef
    port: int
    ready: bool
    running: bool = True
    outdated: bool = False
    own_address: str = ""


class ForwardSpec(Struct, frozen=True, kw_only=True):
    """One local address that forwards to a pod.

    `group`: forwards of one entry at several addresses share their local port if they can.
    `hold`: seconds a connection waits while nothing can serve it. `max_waiting`: maximum number of waiting connections.
    `linger`: seconds the client's FIN is held back while the answer is outstanding.
    `patience`: seconds without a Ready pod after which a Running one will do (0: at once).
    `title`: the name for people, in the log; "" to use the id.
    """

    id: str
    address: str
    port: PortRequest
    group: str
    hold: float = HOLD
    max_waiting: int = MAX_WAITING
    linger: float = LINGER
    patience: float = PATIENCE
    title: str = ""

    @property
    def label(self) -> str:
        return self.title or self.id


class State(Enum):
    """A forward's state, in the words of docs/reference/json.md."""

    WAITING = "waiting"
    LISTENING = "listening"
    READY = "ready"
    FAILED = "failed"
    STOPPED = "stopped"


class Status(Struct, frozen=True, kw_only=True):
    """The current status of one forward. `local_port` is 0 until it is bound; `reason` is "" if all is well.

    `via`: how connections get to the endpoint's pod: `apiserver`, or `pod` for the pod's own address.
    """

    id: str
    state: State
    local_port: int = 0
    endpoint: Endpoint | None = None
    reason: str = ""
    via: str = ""


_COUNT = r"(; )?\d+ connections? waits?$"


def with_count(reason: str, waiting: int) -> str:
    """Append the number of waiting connections to the reason of a status."""
    count = f"{waiting} connection{' waits' if waiting == 1 else 's wait'}" if waiting else ""
    return "; ".join(part for part in (reason, count) if part)


def without_count(reason: str) -> str:
    """Remove what `with_count` appended: the rest stays the same while connections arrive and leave."""
    return re.sub(_COUNT, "", reason)


class Counts(Struct, kw_only=True):
    """A forward's counters: it adds to them, and its readers get copies. Bytes are the connections' own.

    `since`: when the forward began. `connections`: open now, those that are `held` included; `held`: waiting for a pod.
    `sent`, `received`: bytes to and from pods. `errors`: connections cut or given up; `last_error`, `last_error_at`:
    the newest of them.
    """

    since: datetime
    connections: int = 0
    connections_total: int = 0
    held: int = 0
    sent: int = 0
    received: int = 0
    errors: int = 0
    last_error: str = ""
    last_error_at: datetime | None = None


def candidates(request: PortRequest) -> Iterator[int]:
    """Yield the ports to try, in Skaffold's order: the requested one, the ten after it, SUBSTITUTES, 0 (any)."""
    if request.policy is PortPolicy.DEMANDED:
        yield request.number
        return
    if request.policy in {PortPolicy.EXPLICIT, PortPolicy.PREFERRED}:
        yield from range(request.number, min(request.number + 10, MAX_PORT) + 1)
    if request.policy is not PortPolicy.SYSTEM:
        yield from SUBSTITUTES
    yield 0


class PortBook:
    """Remembers which ports are reserved for which groups, and which port each group of forwards has."""

    def __init__(self) -> None:
        self._reserved: dict[int, set[str]] = {}
        self._groups: dict[str, int] = {}
        # For messages: the owners of taken ports that are known, since the last plan.
        self.owners: dict[int, str] = {}

    def reserve(self, specs: Iterable[ForwardSpec]) -> None:
        """Reserve every explicitly requested port of a new plan for its group, and drop older reservations."""
        self._reserved.clear()
        self.owners.clear()
        for spec in specs:
            if spec.port.reserved:
                self._reserved.setdefault(spec.port.number, set()).add(spec.group)

    def choices(self, spec: ForwardSpec) -> Iterator[int]:
        """Yield the ports to try for this forward: its group's, then the usual order without others' reserved ports."""
        sibling = None if spec.port.policy is PortPolicy.DEMANDED else self._groups.get(spec.group)
        if sibling is not None:
            yield sibling
        for port in candidates(spec.port):
            if port != sibling and not self.keeps_from(spec, port):
                yield port

    def keeps_from(self, spec: ForwardSpec, port: int) -> bool:
        """Whether others have reserved the port, and this forward has not."""
        return spec.group not in self._reserved.get(port, {spec.group})

    def holds(self, port: int) -> bool:
        """Whether one of our own forwards has the port."""
        return port in self._groups.values()

    def took(self, spec: ForwardSpec, port: int) -> None:
        self._groups.setdefault(spec.group, port)

    def forget(self, group: str) -> None:
        """Free the group's port: it has no forward left."""
        self._groups.pop(group, None)
