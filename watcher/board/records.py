"""Defines the JSON objects that scripts read (docs/reference), and makes them from verdicts, statuses and events.

The same objects are printed on stdout, sent over HTTP and shown by the page.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct
from msgspec.structs import asdict

from forwarders.spec import Counts, State, Status
from watcher.board.addresses import local_url
from watcher.config.entries import DEFAULT_ADDRESS
from watcher.plan.plan import Explanation
from watcher.plan.verdicts import PlannedForward, Published, ResourceRef, Skip
from watcher.skaffold import SkaffoldChange

if TYPE_CHECKING:
    from watcher.skaffold.port_events import SkaffoldForward
    from watcher.skaffold.state import SkaffoldFacts


class ResourceFields(Struct, frozen=True, kw_only=True, rename="camel"):
    """The fields of every record about a resource and its port. `context`: its cluster's, "" if that is not known."""

    source: str
    resource_type: str
    resource_name: str
    namespace: str
    container: str = ""
    remote_port: int | str
    context: str = ""

    @property
    def resource(self) -> str:
        """Type and name, such as service/web."""
        return f"{self.resource_type}/{self.resource_name}"


class ForwardRecord(ResourceFields, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="forward"):
    """The current state of a forward at one local address.

    `port_name`: of a container's port that a mode found. `gateway`: the forward's URL by name, "" without one.
    `open_path`: the path that the browser opens once, "" for none.
    `via`: how connections get to the pod: `apiserver`, or `pod` for the pod's own address.
    """

    time: str
    id: str
    state: str
    local_address: str
    local_port: int
    requested_port: int = 0
    pod: str = ""
    pod_port: int = 0
    url: str
    reason: str
    port_name: str = ""
    gateway: str = ""
    open_path: str = ""
    via: str = ""

    @property
    def waits(self) -> bool:
        """Whether it has no pod that serves yet."""
        return self.state in {State.WAITING.value, State.LISTENING.value}

    @property
    def link(self) -> str:
        """The URL for people, "" without one: the gateway's, because it stays the same with another local port."""
        return self.gateway or self.url

    @property
    def page(self) -> str:
        """The URL that the browser opens: with the path of `open`, if there is one."""
        return f"{self.link.rstrip('/')}{self.open_path or '/'}"


class CountedForward(ForwardRecord, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="forward"):
    """A forward with its counters at the time of the request. `since` is when it began.

    The counters of a port that Skaffold or Docker holds are zero and its `since` is "".
    """

    since: str = ""
    connections: int = 0
    connections_total: int = 0
    connections_held: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    errors: int = 0
    last_error: str = ""
    last_error_time: str = ""

    @property
    def note(self) -> str:
        """Why the forward is not ready, or its last error: for people."""
        return self.reason or self.last_error


class SkipRecord(ResourceFields, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="skip"):
    """Something that is not forwarded, and the reason. `over`: this no longer holds (forwarded now, or deleted)."""

    time: str
    id: str
    reason: str
    over: bool = False


class ExplainRecord(ResourceFields, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="explain"):
    """The verdict on one resource and port.

    `rule`: what decided. `reason`: what is wrong or missing. `forwards`: ids of the resulting forwards.
    `origin`: the file and place of a configured entry, "" for what a mode found. `via`: as for a forward.
    """

    protocol: str
    origin: str
    forwarded: bool
    rule: str
    reason: str
    forwards: tuple[str, ...]
    via: str = ""

    @property
    def remark(self) -> str:
        """The reason, and whether connections go past the API server: for people."""
        direct = "connections go to the pod's own address" if self.via == "pod" else ""
        return "; ".join(part for part in (self.reason, direct) if part)


class ProbeRecord(Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="test"):
    """The result of one connection through a forward. `answer`: the response's first line, or what the pod did.

    `reason`: why it is not ok, such as the container runtime's refusal. `seconds`: how long the test took.
    """

    id: str
    ok: bool
    what: Literal["connect", "get"]
    answer: str
    reason: str
    seconds: float


class RetryRecord(Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="retry"):
    """Whether a failed forward is tried again, or the reason why not."""

    id: str
    retried: bool
    reason: str


class SkaffoldRecord(Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="skaffold"):
    """What Skaffold does now. `change` says what is new: attached, lost, phase or run.

    `iteration` counts Skaffold's dev loops, and this one began at `iteration_began`, "" before the first. `failed`:
    something failed in it; `error`: Skaffold's message.
    """

    time: str
    change: SkaffoldChange
    attached: bool
    phase: str
    iteration: int
    run_id: str
    reason: str
    failed: bool
    iteration_began: str = ""
    error: str = ""


class PlanRecord(Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="plan"):
    """Whether the plan is settled: all lists are complete and, beside Skaffold, newer than this run's last deploy."""

    time: str
    settled: bool


Record = ForwardRecord | SkipRecord | SkaffoldRecord | PlanRecord


def timestamp(now: datetime) -> str:
    """The time as RFC 3339 text in UTC with milliseconds (cut, not rounded). `now` must have a time zone."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _described(subject: ResourceRef) -> dict[str, Any]:
    """The fields that every record about this subject has."""
    return {name: getattr(subject, name) for name in ResourceFields.__struct_fields__}


def forward_record(wanted: PlannedForward, status: Status, now: datetime, gateway: str = "") -> ForwardRecord:
    """The record of one of our forwards with its current status."""
    port = wanted.spec.port.number
    return _record(wanted.subject, wanted.spec.address, status, now, requested_port=port, gateway=gateway)


def _record(subject: ResourceRef, address: str, status: Status, now: datetime, **fields: Any) -> ForwardRecord:
    endpoint, port = status.endpoint, status.local_port
    return ForwardRecord(
        **_described(subject),
        **fields,
        time=timestamp(now),
        id=status.id,
        state=status.state.value,
        local_address=address,
        local_port=port,
        pod=endpoint.pod.name if endpoint else "",
        pod_port=endpoint.port if endpoint else 0,
        url=local_url(address, port) if port and status.state is not State.STOPPED else "",
        reason=status.reason,
        port_name=subject.port_name,
        open_path=subject.open_path,
        via=status.via,
    )


def counted(record: ForwardRecord, counts: Counts | None) -> CountedForward:
    """The record with its counters. `counts`: None for a port that Skaffold or Docker holds."""
    if counts is None:
        return CountedForward(**asdict(record))
    return CountedForward(
        **asdict(record),
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


def skaffold_record(change: SkaffoldChange, facts: SkaffoldFacts, now: datetime, began: str = "") -> SkaffoldRecord:
    """One change of what Skaffold does. `began`: when its iteration began, "" if that is not known."""
    return SkaffoldRecord(
        time=timestamp(now),
        change=change,
        attached=facts.attached,
        phase=facts.phase,
        iteration=facts.iteration,
        run_id=facts.run_id,
        failed=facts.failed,
        reason=facts.problem,
        iteration_began=began,
        error=facts.error if facts.failed else "",
    )


def own_forward_record(own: SkaffoldForward, now: datetime) -> ForwardRecord:
    """A forward that Skaffold itself holds, as its events describe it."""
    kind, name, namespace, port = own.key
    address = own.address or DEFAULT_ADDRESS
    subject = ResourceRef(
        source="skaffold",
        resource_type=kind,
        resource_name=name,
        namespace=namespace,
        container=own.container_name,
        remote_port=port,
    )
    ident = f"skaffold/{namespace}/{kind}/{name}/{port}/{address}"
    return _record(subject, address, _held(ident, own.local_port, "held by Skaffold itself"), now)


def published_record(published: Published, now: datetime) -> ForwardRecord:
    """The record of a local port that Docker itself listens on."""
    status = _held(published.id, published.local_port, "published by Docker itself")
    return _record(published.subject, published.address, status, now)


def _held(ident: str, port: int, reason: str) -> Status:
    """The status of a forward whose port another program listens on: it is ready as long as it exists."""
    return Status(id=ident, state=State.READY, local_port=port, reason=reason)


def skip_record(skip: Skip, now: datetime) -> SkipRecord:
    return SkipRecord(**_described(skip.subject), time=timestamp(now), id=skip.id, reason=skip.reason)


def explain_record(explanation: Explanation, via: str = "") -> ExplainRecord:
    subject = explanation.subject
    return ExplainRecord(
        **_described(subject),
        protocol=subject.protocol,
        origin=subject.origin,
        forwarded=explanation.forwarded,
        rule=explanation.rule,
        reason=explanation.reason,
        forwards=explanation.forwards,
        via=via,
    )
