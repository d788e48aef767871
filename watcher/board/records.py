"""The JSON objects that scripts read (docs/reference): one a change, the same on stdout, over HTTP and on the page.

Refuses to decide: a record says what plan, forwards and Skaffold said.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import asdict

from forwarders.spec import Counts, State, Status
from forwarders.system.tcp import reachable_host
from watcher.config.entries import DEFAULT_ADDRESS
from watcher.plan.explain import Explanation
from watcher.plan.plan import PlannedForward, Published, Skip
from watcher.skaffold.port_events import SkaffoldForward
from watcher.skaffold.state import SkaffoldChange


class ForwardRecord(Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="forward"):
    """A forward as it is now; one for each local address.

    `port_name`: of a container's port that was found. `gateway`: its URL by name, "" where there is none.
    `context`: the kube-context whose cluster it leads to, "" where that is not known.
    """

    time: str
    id: str
    source: str
    state: str
    resource_type: str
    resource_name: str
    namespace: str
    container: str
    remote_port: int | str
    local_address: str
    local_port: int
    requested_port: int
    pod: str
    pod_port: int
    url: str
    reason: str
    port_name: str = ""
    gateway: str = ""
    context: str = ""


class CountedForward(ForwardRecord, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="forward"):
    """A forward with what it has carried, when it was asked; `since` is when it began. Blank for a port of others."""

    since: str = ""
    connections: int = 0
    connections_total: int = 0
    connections_held: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    errors: int = 0
    last_error: str = ""
    last_error_time: str = ""


class SkipRecord(Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="skip"):
    """Something that is not forwarded, and why; `over`: it is no more (forwarded, or gone)."""

    time: str
    id: str
    source: str
    resource_type: str
    resource_name: str
    namespace: str
    container: str
    remote_port: int | str
    reason: str
    over: bool = False
    context: str = ""


class ExplainRecord(Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="explain"):
    """The verdict on one thing. `rule` decided; `reason`: what is wrong or awaited; `forwards`: ids of what came of it.

    `origin`: where an entry stands, "" for what was found.
    """

    source: str
    resource_type: str
    resource_name: str
    namespace: str
    container: str
    remote_port: int | str
    protocol: str
    origin: str
    forwarded: bool
    rule: str
    reason: str
    forwards: tuple[str, ...]
    context: str = ""


class SkaffoldRecord(Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="skaffold"):
    """What Skaffold does. `change` is attached, lost, phase or run."""

    time: str
    change: SkaffoldChange
    attached: bool
    phase: str
    iteration: int
    run_id: str
    reason: str
    failed: bool


class PlanRecord(Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="plan"):
    """Whether the plan stands: on synced lists and, beside Skaffold, on an ended deploy of this run."""

    time: str
    settled: bool


Record = ForwardRecord | SkipRecord | SkaffoldRecord | PlanRecord


def timestamp(now: datetime) -> str:
    """RFC 3339 in UTC with milliseconds (cut, not rounded); `now` must be aware."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def forward_record(wanted: PlannedForward, status: Status, now: datetime, gateway: str = "") -> ForwardRecord:
    endpoint = status.endpoint
    address, subject = wanted.spec.address, wanted.subject
    return ForwardRecord(
        time=timestamp(now),
        id=wanted.id,
        source=subject.source,
        state=status.state.value,
        resource_type=subject.resource_type,
        resource_name=subject.resource_name,
        namespace=subject.namespace,
        container=subject.container,
        remote_port=subject.remote_port,
        local_address=address,
        local_port=status.local_port,
        requested_port=wanted.spec.port.number,
        pod=endpoint.pod.name if endpoint else "",
        pod_port=endpoint.port if endpoint else 0,
        url=url(address, status.local_port) if status.local_port and status.state is not State.STOPPED else "",
        reason=status.reason,
        port_name=subject.port_name,
        gateway=gateway,
        context=subject.context,
    )


def counted(record: ForwardRecord, counts: Counts | None) -> CountedForward:
    """`counts`: None where the port is not ours (Skaffold's own, Docker's)."""
    fields = asdict(record)
    if counts is None:
        return CountedForward(**fields)
    return CountedForward(
        **fields,
        since=timestamp(counts.since),
        connections=counts.connections,
        connections_total=counts.connections_total,
        connections_held=counts.held,
        bytes_sent=counts.sent,
        bytes_received=counts.received,
        errors=counts.errors,
        last_error=counts.last_error,
        last_error_time=timestamp(counts.last_error_at) if counts.last_error_at else "",
    )


def own_forward_record(own: SkaffoldForward, now: datetime, *, over: bool = False) -> ForwardRecord:
    """A forward that Skaffold itself holds, as far as its events tell; `over`: it holds it no more."""
    address = own.address or DEFAULT_ADDRESS
    kind, name, namespace, port = own.key
    return ForwardRecord(
        time=timestamp(now),
        id=f"skaffold/{namespace}/{kind}/{name}/{port}/{address}",
        source="skaffold",
        state=(State.STOPPED if over else State.READY).value,
        resource_type=kind,
        resource_name=name,
        namespace=namespace,
        container=own.container_name,
        remote_port=port,
        local_address=address,
        local_port=own.local_port,
        requested_port=0,
        pod="",
        pod_port=0,
        url="" if over else url(address, own.local_port),
        reason="held by Skaffold itself",
    )


def published_record(published: Published, now: datetime) -> ForwardRecord:
    """A port that Docker listens on."""
    subject = published.subject
    return ForwardRecord(
        time=timestamp(now),
        id=published.id,
        source=subject.source,
        state=State.READY.value,
        resource_type=subject.resource_type,
        resource_name=subject.resource_name,
        namespace=subject.namespace,
        container=subject.container,
        remote_port=subject.remote_port,
        local_address=published.address,
        local_port=published.local_port,
        requested_port=0,
        pod="",
        pod_port=0,
        url=url(published.address, published.local_port),
        reason="published by Docker itself",
        context=subject.context,
    )


def skip_record(skip: Skip, now: datetime) -> SkipRecord:
    subject = skip.subject
    return SkipRecord(
        time=timestamp(now),
        id=skip.id,
        source=subject.source,
        resource_type=subject.resource_type,
        resource_name=subject.resource_name,
        namespace=subject.namespace,
        container=subject.container,
        remote_port=subject.remote_port,
        reason=skip.reason,
    )


def explain_record(explanation: Explanation) -> ExplainRecord:
    subject = explanation.subject
    return ExplainRecord(
        source=subject.source,
        resource_type=subject.resource_type,
        resource_name=subject.resource_name,
        namespace=subject.namespace,
        container=subject.container,
        remote_port=subject.remote_port,
        protocol=subject.protocol,
        origin=subject.origin,
        forwarded=explanation.forwarded,
        rule=explanation.rule,
        reason=explanation.reason,
        forwards=explanation.forwards,
        context=subject.context,
    )


def url(address: str, port: int) -> str:
    address = reachable_host(address)
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"
