"""Owns the facts that a plan is made of, as one frozen value. Refuses to gather them."""

from __future__ import annotations

from msgspec import Struct

from watcher.cluster.objects import RUN_ID_LABEL
from watcher.cluster.store import Snapshot
from watcher.config.entries import DEFAULT_ADDRESS, BadEntry, Entry
from watcher.skaffold.modes import Mode


class Waiting(Struct, frozen=True):
    """How connections wait (forwarders.spec.ForwardSpec has the meaning of each)."""

    hold: float = 30.0
    held: int = 2048
    linger: float = 10.0
    patience: float = 5.0


class OwnForward(Struct, frozen=True):
    """A forward that Skaffold itself holds: shown as its own, and not competed with."""

    kind: str
    name: str
    namespace: str
    port: int | str
    local_port: int
    address: str = DEFAULT_ADDRESS
    container: str = ""


class Facts(Struct, frozen=True, kw_only=True):
    """Everything a plan depends on.

    `namespace`: -n, else the context's, else "". `namespaces`: all that the run is known to use, that one included.
    `run_id`: label value of this run's objects; "" while unknown: then every object of any run counts if `any_run`.
    `deployed`: nothing more is on its way by itself: an object that is missing is missing.
    """

    cluster: Snapshot = Snapshot()
    modes: frozenset[Mode] = frozenset()
    entries: tuple[Entry, ...] = ()
    bad_entries: tuple[BadEntry, ...] = ()
    addresses: tuple[str, ...] = (DEFAULT_ADDRESS,)
    strict_ports: bool = False
    namespace: str = ""
    namespaces: frozenset[str] = frozenset()
    run_id: str = ""
    any_run: bool = False
    deployed: bool = True
    own_forwards: tuple[OwnForward, ...] = ()
    waiting: Waiting = Waiting()

    @property
    def run_selector(self) -> str:
        """The label selector of what the run deployed; "" where nothing is deployed yet."""
        if self.run_id:
            return f"{RUN_ID_LABEL}={self.run_id}"
        return RUN_ID_LABEL if self.any_run else ""
