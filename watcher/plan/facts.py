"""The facts that a plan is computed from, as one frozen value, and how they are split by cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from forwarders import HOLD, LINGER, MAX_WAITING
from watcher.cluster.store import OtherCluster, Snapshot
from watcher.config.entries import DEFAULT_ADDRESS, BadEntry, DirectMode, Entry, Rules
from watcher.skaffold.modes import Mode

if TYPE_CHECKING:
    from watcher.docker.containers import Containers
    from watcher.skaffold.port_events import SkaffoldForward


class Facts(Struct, frozen=True, kw_only=True):
    """Everything that a plan depends on.

    `addresses`: where forwards listen that name no address. `namespace`: -n, or "". `context_namespace`: the
    kube-context's, or "". `namespaces`: those that the run is known to use. `within`: the only namespaces to look for
    labelled objects in, () for all.
    `run_id`: the run-id label of this run's objects, "" while unknown. `former_run_ids`: those of the same Skaffold
    before it reloaded its configuration; their objects count until a deploy under the new id has succeeded.
    `any_run`: objects of every run count. `selector`: all objects that it selects count, labelled or not.
    `containers`: Docker's, if the project deploys with Docker alone; None if it deploys to Kubernetes.
    `artifacts`: names of the images that this run builds, () while unknown. `rules`: portside.yaml's.
    `explain_requested`: everything of the run is looked at, whatever the modes, for `explain`.
    `own_forwards`: Skaffold's. `holding`: the local ports that our forwards are bound to, by id.
    `context`: the name of the default cluster's kube-context. `contexts`: the other ones that the run deploys to.
    `others`: the other clusters, and what is known of each. `hold`, `max_waiting`, `linger`: as in ForwardSpec.
    `direct_mode`: of --direct. `direct`: the keys of the clusters whose pods may be reached at their own addresses.
    `deployed`: no deploy is under way, so a missing object will not appear by itself.
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
    own_forwards: tuple[SkaffoldForward, ...] = ()
    holding: Mapping[str, int] = {}
    within: frozenset[str] = frozenset()
    context: str = ""
    contexts: frozenset[str] = frozenset()
    others: tuple[OtherCluster, ...] = ()
    hold: float = HOLD
    max_waiting: int = MAX_WAITING
    linger: float = LINGER
    direct_mode: DirectMode = DirectMode.NEVER
    direct: frozenset[str] = frozenset()

    @property
    def active_entries(self) -> tuple[Entry, ...]:
        """The requested entries: those of the command line always, skaffold.yaml's in mode user."""
        return tuple(entry for entry in self.entries if self._is_requested(entry))

    @property
    def passive_entries(self) -> tuple[Entry, ...]:
        """The entries that no mode requests now: `explain` lists them."""
        return tuple(entry for entry in self.entries if not self._is_requested(entry))

    @property
    def pod_mode(self) -> Mode | None:
        """The mode that forwards pods. Mode pods includes what mode debug would forward."""
        return next((mode for mode in (Mode.PODS, Mode.DEBUG) if mode in self.modes), None)

    @property
    def ids_of_run(self) -> frozenset[str]:
        """The run's id and its former ones."""
        return (self.former_run_ids | {self.run_id}) - {""}

    def _is_requested(self, entry: Entry) -> bool:
        return entry.source != "user" or Mode.USER in self.modes


def per_cluster(facts: Facts) -> dict[str, Facts]:
    """The facts of each usable cluster by its key: "" for the default one, which comes first, else its context."""
    if not facts.others:
        return {"": facts}
    own = tuple(entry for entry in facts.entries if entry.context in {"", facts.context})
    return {"": replace(facts, entries=own, others=())} | {
        other.context: of_cluster(other, facts) for other in facts.others if not other.problem
    }


def of_cluster(other: OtherCluster, facts: Facts) -> Facts:
    """The facts of one other cluster. If the run does not deploy to it, only entries that name a namespace count."""
    deployed_to = other.context in facts.contexts
    return replace(
        facts,
        modes=facts.modes if deployed_to else facts.modes & {Mode.USER},
        explain_requested=facts.explain_requested and deployed_to,
        namespace=facts.namespace if deployed_to else facts.namespace or other.namespace or "default",
        context=other.context,
        cluster=other.cluster,
        context_namespace=other.namespace,
        entries=tuple(entry for entry in facts.entries if entry.context == other.context),
        bad_entries=(),
        others=(),
        holding={ident.removesuffix(id_suffix(other.context)): port for ident, port in facts.holding.items()},
    )


def id_suffix(key: str) -> str:
    """The end of every id in the cluster with this key. Other parts of ids have no @, so ids stay unique."""
    return f"@{key}" if key else ""
