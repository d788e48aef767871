"""The facts that a plan is made of, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from forwarders import HOLD, LINGER, MOST_HELD, PATIENCE
from watcher.cluster.store import OtherCluster, Snapshot
from watcher.config.entries import DEFAULT_ADDRESS, BadEntry, Entry, Rules
from watcher.docker.containers import Containers
from watcher.skaffold.modes import Mode


class Waiting(Struct, frozen=True):
    """How connections wait (forwarders.spec.ForwardSpec has the meaning of each)."""

    hold: float = HOLD
    held: int = MOST_HELD
    linger: float = LINGER
    patience: float = PATIENCE


class OwnForward(Struct, frozen=True):
    """A forward that Skaffold itself holds: not competed with."""

    kind: str
    name: str
    namespace: str
    port: int | str
    local_port: int
    address: str = DEFAULT_ADDRESS


class Facts(Struct, frozen=True, kw_only=True):
    """Everything that a plan depends on.

    `addresses`: for everything that names none itself. `namespace`: -n, or "". `context_namespace`: the kube-context's,
    or "". `namespaces`: those that the run is known to use.
    `run_id`: the label of this run's objects, "" while unknown; `former_run_ids`: those the same Skaffold had before
    its configuration was loaded again: what still has them counts until a deploy under the new one has succeeded.
    `any_run`: every object that a Skaffold labelled counts. `selector`: what it selects counts, labelled or not.
    `containers`: Docker's, where the project deploys with Docker alone; None: it deploys to Kubernetes.
    `artifacts`: names of the images that this run builds, () while unknown. `rules`: portside.yaml's.
    `explain_requested`: somebody asks why: everything of the run is looked at, whatever the modes.
    `own_forwards`: Skaffold's. `holding`: the local ports that our forwards are bound to, by id.
    `within`: the namespaces in which labelled objects are looked for, () for all of them.
    `context`: the name of the kube-context that all these facts are about, but for `others` and their entries.
    `contexts`: those that the run deploys to beside it.
    `deployed`: nothing more is on its way by itself: an object that is missing is missing.
    """

    cluster: Snapshot = Snapshot()
    modes: frozenset[Mode] = frozenset()
    entries: tuple[Entry, ...] = ()
    bad_entries: tuple[BadEntry, ...] = ()
    addresses: tuple[str, ...] = (DEFAULT_ADDRESS,)
    strict_ports: bool = False
    namespace: str = ""
    context_namespace: str = ""
    namespaces: frozenset[str] = frozenset()
    run_id: str = ""
    former_run_ids: frozenset[str] = frozenset()
    any_run: bool = False
    selector: str = ""
    containers: Containers | None = None
    artifacts: tuple[str, ...] = ()
    rules: Rules = Rules()
    explain_requested: bool = False
    deployed: bool = True
    own_forwards: tuple[OwnForward, ...] = ()
    holding: Mapping[str, int] = {}
    within: frozenset[str] = frozenset()
    context: str = ""
    contexts: frozenset[str] = frozenset()
    others: tuple[OtherCluster, ...] = ()
    waiting: Waiting = Waiting()

    @property
    def active_entries(self) -> tuple[Entry, ...]:
        """The entries that are asked for: those of the command line always, skaffold.yaml's in mode user."""
        return tuple(entry for entry in self.entries if self._is_asked_for(entry))

    @property
    def passive_entries(self) -> tuple[Entry, ...]:
        """The others."""
        return tuple(entry for entry in self.entries if not self._is_asked_for(entry))

    def _is_asked_for(self, entry: Entry) -> bool:
        return entry.source != "user" or Mode.USER in self.modes
