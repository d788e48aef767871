"""Verdicts of the plan: PlannedForward, Skip or NotRequested, each with its reason; and what the sources share.

Refuses to choose between them.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from forwarders.spec import Endpoint, ForwardSpec, PortPolicy, PortRequest
from watcher.cluster.kinds import Kind
from watcher.cluster.store import Watch
from watcher.plan import run, spread
from watcher.plan.facts import Facts, OwnForward
from watcher.plan.serving import EndpointResult


class ResourceRef(Struct, frozen=True, kw_only=True):
    """What a verdict is about, in the words of the JSON records. `remote_port` as asked; "" for a thing as a whole.

    `origin`: where an entry stands, "" for what was found. `protocol`, `port_name`: of a port that was found.
    `context`: the kube-context, for people; "" where the plan has not named it.
    """

    source: str
    resource_type: str
    resource_name: str
    namespace: str
    container: str = ""
    remote_port: int | str = ""
    origin: str = ""
    protocol: str = "TCP"
    port_name: str = ""
    context: str = ""


class PlannedForward(Struct, frozen=True, kw_only=True):
    """One forward that shall be. `waiting_for`, `broken`: see serving.EndpointResult.

    `because`: the rule that chose it. `called`: what its port is called, as far as that is known: its number, its name.
    `cluster`: as for PodRef.
    """

    id: str
    subject: ResourceRef
    spec: ForwardSpec
    endpoints: tuple[Endpoint, ...]
    waiting_for: str
    broken: str
    because: str
    called: tuple[int | str, ...] = ()
    cluster: str = ""


class Published(Struct, frozen=True, kw_only=True):
    """A port that somebody else listens on for good, Docker's: shown, and never bound here."""

    id: str
    subject: ResourceRef
    address: str
    local_port: int
    because: str


class Skip(Struct, frozen=True, kw_only=True):
    """Something that is not forwarded, and why."""

    id: str
    subject: ResourceRef
    reason: str


class NotRequested(Struct, frozen=True, kw_only=True):
    """Something seen that nobody asked for: no news, but an answer for who asks why."""

    id: str
    subject: ResourceRef
    reason: str


Verdict = PlannedForward | Published | Skip | NotRequested


def spec(
    ident: str,
    group: str,
    address: str,
    port_request: PortRequest,
    facts: Facts,
    *,
    eager: bool = False,
    linger: float | None = None,
) -> ForwardSpec:
    """`eager`: a pod that is Running will do at once. `linger`: in place of the user's."""
    waiting = facts.waiting
    strict = facts.strict_ports and port_request.number
    return ForwardSpec(
        id=ident,
        address=address,
        port=PortRequest(PortPolicy.DEMANDED, port_request.number) if strict else port_request,
        group=group,
        hold=waiting.hold,
        held=waiting.held,
        linger=waiting.linger if linger is None else linger,
        patience=0.0 if eager else waiting.patience,
    )


def held_by_skaffold(
    facts: Facts, kind: str, name: str, namespace: str, ports: tuple[int | str, ...]
) -> OwnForward | None:
    """Skaffold's own forward for one of these spellings of a port. Its namespace is blank where the context's is."""
    for own in facts.own_forwards:
        if (own.kind, own.name) == (kind, name) and own.port in ports and own.namespace in {namespace, ""}:
            return own
    return None


def left_to_skaffold(own: OwnForward | None, ident: str, port_request: PortRequest, facts: Facts) -> str:
    """Why Skaffold's forward `own` stands for ours, or "".

    The one that holds the asked port keeps it: a Skaffold that was started later found it taken, and moved on. Where no
    port is asked for, ours stays if it is bound already.
    """
    held = facts.holding.get(ident)
    if own is None or (held is not None and port_request.number in {0, held}):
        return ""
    place = f"[{own.address}]" if ":" in own.address else own.address
    return f"Skaffold forwards it itself, to {place}:{own.local_port}; start it with --port-forward=off"


def not_listed(watch: Watch, facts: Facts) -> EndpointResult:
    """What is known while a watch has no objects yet. Where it is refused nothing comes of waiting."""
    problem = facts.cluster.problems.get(watch)
    if problem is None:
        where = f"namespace {watch.namespace}" if watch.namespace else "all namespaces"
        return EndpointResult(waiting_for=f"listing {watch.kind.plural} in {where}")
    return EndpointResult(broken=problem.text) if problem.forbidden else EndpointResult(waiting_for=problem.text)


def unlisted_kind(kind: Kind, source: str, facts: Facts) -> Iterator[Skip]:
    """Lists of the run's objects that have never ended: nothing else would say why there is nothing to forward."""
    for watch in spread.unlisted(run.everywhere(kind, facts), facts):
        yield Skip(
            id=f"{source}/{watch.namespace}/{kind.singular}/*",
            subject=ResourceRef(
                source=source, resource_type=kind.singular, resource_name="*", namespace=watch.namespace
            ),
            reason=facts.cluster.problems[watch].text,
        )
