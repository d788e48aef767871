"""Owns the values that ask for a forward: which address and port, which pods may serve, how long to hold.

Refuses behaviour: these are frozen answers of the plan, compared and kept, never changed in place.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct


class PortPolicy(Enum):
    """How firmly a local port is asked for."""

    DEMANDED = "demanded"  # this port or none: kubectl's LOCAL:PORT, or --strict-ports
    EXPLICIT = "explicit"  # written by the user: no automatic forward may take it; taken by others: the next one
    PREFERRED = "preferred"  # follows from the remote port: this one if it is free
    AUTOMATIC = "automatic"  # nothing asked: Skaffold's range, then the system's choice
    SYSTEM = "system"  # kubectl's `:PORT`: the operating system chooses


class PortRequest(Struct, frozen=True):
    """A local port as asked for. `number` is 0 where `policy` is AUTOMATIC or SYSTEM."""

    policy: PortPolicy
    number: int = 0

    @property
    def reserved(self) -> bool:
        """Whether no other forward may be given this port as a substitute."""
        return self.policy in {PortPolicy.DEMANDED, PortPolicy.EXPLICIT}


class PodRef(Struct, frozen=True):
    """One pod in the life of one UID: a pod made again under the same name (a StatefulSet's) is another.

    `address`: of a container that is reached by TCP, without an API server; "" for a pod. `cluster`: which cluster the
    pod is in, "" for the one that most forwards are in.
    """

    namespace: str
    name: str
    uid: str
    address: str = ""
    cluster: str = ""


class Endpoint(Struct, frozen=True):
    """A pod's port that may serve connections; while not `running` it serves none, but sessions may stand already.

    `outdated`: there is a newer revision of what the pod runs, so it serves only while no pod of that can.
    """

    pod: PodRef
    port: int
    ready: bool
    running: bool = True
    outdated: bool = False


class ForwardSpec(Struct, frozen=True, kw_only=True):
    """One local address that shall lead to a pod.

    `group`: forwards of one entry at several addresses share their local port where they can.
    `hold`: seconds a connection waits while nothing can serve it. `held`: how many may wait at once.
    `linger`: seconds the client's FIN is held back while the answer is still outstanding.
    `patience`: seconds without a Ready pod after which a Running one will do (0: at once).
    `title`: what people call it, for the log; "" where the id has to do.
    """

    id: str
    address: str
    port: PortRequest
    group: str
    hold: float = 30.0
    held: int = 2048
    linger: float = 10.0
    patience: float = 5.0
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
    """What is true of one forward now. `local_port` is 0 until it is bound; `reason` is "" where all is well."""

    id: str
    state: State
    local_port: int = 0
    endpoint: Endpoint | None = None
    reason: str = ""
