"""The verdicts of a plan: PlannedForward, Published, Skip, NotRequested; and the reasons that sources share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import asdict

from forwarders import PATIENCE
from forwarders.spec import Endpoint, ForwardSpec, PortPolicy, PortRequest, authority
from watcher.cluster.kinds import Kind
from watcher.cluster.store import Watch
from watcher.plan import run
from watcher.plan.facts import Facts
from watcher.plan.pods import EndpointResult, Steps

if TYPE_CHECKING:
    from watcher.skaffold.port_events import SkaffoldForward


class ResourceRef(Struct, frozen=True, kw_only=True):
    """The subject of a verdict, in the terms of the JSON records. `remote_port`: as requested; "" for a whole resource.

    `origin`: file and line of an entry, "" for what was found. `protocol`, `port_name`: of a port that was found.
    `context`: the kube-context, for people; "" until the plan has filled it in. `open_path`: as in Entry.
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
    open_path: str = ""

    @property
    def key(self) -> str:
        """The beginning of the ids of this resource's verdicts."""
        return f"{self.source}/{self.namespace}/{self.resource_type}/{self.resource_name}/"


class PlannedForward(Struct, frozen=True, kw_only=True):
    """A forward that shall run. `waiting_for`, `broken`: as in EndpointResult.

    `because`: the rule that chose it. `called`: the spellings of its port (number, name) as far as they are known.
    `cluster`: as in PodRef.
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
    """A local port on which Docker listens itself. It is shown, and never bound by portside."""

    id: str
    subject: ResourceRef
    address: str
    local_port: int
    because: str


class Skip(Struct, frozen=True, kw_only=True):
    """A requested resource that is not forwarded, and why."""

    id: str
    subject: ResourceRef
    reason: str


class NotRequested(Struct, frozen=True, kw_only=True):
    """A resource that was seen and not requested. Not reported, but listed by `explain`."""

    id: str
    subject: ResourceRef
    reason: str


Verdict = PlannedForward | Published | Skip | NotRequested


def planned(
    spec: ForwardSpec, subject: ResourceRef, found: EndpointResult, because: str, called: tuple[int | str, ...] = ()
) -> PlannedForward:
    """The forward of `spec` to the endpoints that were found."""
    of_pods = asdict(found)
    return PlannedForward(id=spec.id, subject=subject, spec=spec, because=because, called=called, **of_pods)


def forward_spec(
    group: str, address: str, port: PortRequest, facts: Facts, *, ident: str = "", eager: bool = False
) -> ForwardSpec:
    """Makes a spec. `ident`: the id if it is not `group` and `address`. `eager`: a Running pod will do at once."""
    strict = facts.strict_ports and port.number
    return ForwardSpec(
        id=ident or group + address,
        address=address,
        port=PortRequest(PortPolicy.DEMANDED, port.number) if strict else port,
        group=group,
        hold=facts.hold,
        max_waiting=facts.max_waiting,
        linger=facts.linger,
        patience=0.0 if eager else PATIENCE,
    )


class FoundPort(Struct, frozen=True, kw_only=True):
    """A port of the run's services or pods. `group`: as in ForwardSpec; `because`, `called`: as in PlannedForward.

    `not_requested`, `unable`, `refused`: the reasons not to forward it, each "" if it does not apply. `held_by`:
    Skaffold's own forward of it. `eager`: as for `forward_spec`.
    """

    group: str
    subject: ResourceRef
    local_port: PortRequest
    because: str
    called: tuple[int | str, ...]
    not_requested: str
    unable: str
    refused: str
    held_by: SkaffoldForward | None
    eager: bool = False


def verdicts_on(port: FoundPort, find: Steps[EndpointResult], facts: Facts) -> Iterator[Verdict | None]:
    """One verdict for each address; one for the port if it can be forwarded at none, or nobody requests it.

    `find` finds the endpoints: it runs once, if there is a forward. None is a moment to pause.
    """
    if port.not_requested:
        yield NotRequested(id=port.group, subject=port.subject, reason=port.not_requested)
        return
    if port.unable:
        yield Skip(id=port.group, subject=port.subject, reason=port.unable)
        return
    endpoints: EndpointResult | None = None
    for address in dict.fromkeys(facts.addresses):
        ident = port.group + address
        if reason := port.refused or left_to_skaffold(port.held_by, ident, port.local_port, facts):
            yield Skip(id=ident, subject=port.subject, reason=reason)
            continue
        if endpoints is None:
            endpoints = yield from find
        spec = forward_spec(port.group, address, port.local_port, facts, eager=port.eager)
        yield planned(spec, port.subject, endpoints, port.because, port.called)


def held_by_skaffold(
    kind: str, names: Iterable[str], namespace: str, ports: tuple[int | str, ...], facts: Facts
) -> SkaffoldForward | None:
    """Skaffold's own forward of a port with one of these spellings. Its namespace is blank if it is the context's."""
    called = set(names) if facts.own_forwards else set()
    for own in facts.own_forwards:
        named = own.resource_type == kind and own.resource_name in called and own.namespace in {namespace, ""}
        if named and own.target_port in ports:
            return own
    return None


def left_to_skaffold(own: SkaffoldForward | None, ident: str, port: PortRequest, facts: Facts) -> str:
    """The reason to leave the forward to Skaffold, which holds `own`; "" to forward it.

    Whichever holds the requested port keeps it: a Skaffold that started later found it taken and chose another. If no
    port is requested, ours stays once it is bound.
    """
    held = facts.holding.get(ident)
    if own is None or (held is not None and port.number in {0, held}):
        return ""
    place = authority(own.address, own.local_port)
    return f"Skaffold forwards it itself, to {place}; start it with --port-forward=off"


def not_listed(watch: Watch, facts: Facts) -> EndpointResult:
    """The result while a watch has not listed its objects. Waiting does not help if it is forbidden."""
    problem = facts.cluster.problems.get(watch)
    if problem is None:
        where = f"namespace {watch.namespace}" if watch.namespace else "all namespaces"
        return EndpointResult(waiting_for=f"listing {watch.kind.plural} in {where}")
    return EndpointResult(broken=problem.text) if problem.forbidden else EndpointResult(waiting_for=problem.text)


def unlisted_kind(kind: Kind, source: str, facts: Facts) -> Iterator[Skip]:
    """A skip for each list of the run's objects that has never succeeded: no other verdict would tell.

    A forbidden list of all namespaces does not count: the known namespaces are watched instead.
    """
    for watch in run.watches_of_run(kind, facts):
        problem = facts.cluster.problems.get(watch)
        if problem and not facts.cluster.synced(watch) and (watch.namespace or not problem.forbidden):
            subject = ResourceRef(
                source=source, resource_type=kind.singular, resource_name="*", namespace=watch.namespace
            )
            yield Skip(id=subject.key.removesuffix("/"), subject=subject, reason=problem.text)
