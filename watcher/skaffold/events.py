"""Decodes the bytes of /v2/events into the typed events that portside uses; field names as in proto/v2/skaffold.proto.

The stream is newline-delimited JSON. A line that is too long or not an event is counted and skipped. Log events carry
what Skaffold and the pods print, secrets included, so their text is not decoded.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

IN_PROGRESS = "InProgress"
SUCCEEDED = "Succeeded"
FAILED = "Failed"

# Only log lines grow large (gRPC lets a message be 4 MB, JSON escapes it up to six times), and those are not needed; a
# metaEvent with a thousand artifacts stays below 200 kB.
MAX_LINE = 1 << 20

# Limits of what Skaffold itself sends. Any user of this machine can post an event, and Skaffold passes it on: a line
# beyond these limits is not an event. A text is a name, a resource id or an address. A number is proto's int32.
Text = Annotated[str, Meta(max_length=1024)]
Int32 = Annotated[int, Meta(ge=-(1 << 31), lt=1 << 31)]
Instant = Annotated[datetime, Meta(tz=True)]
# The value of a label, or nothing.
RunId = Annotated[str, Meta(pattern=r"\A([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?\Z")]

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# The digits of an iteration: nobody saves a file more often.
_TASK_ID = re.compile(r"([A-Za-z]+)-([0-9]{1,9})", re.ASCII)


def iteration_of(task_id: str, task: str) -> int | None:
    """The iteration N in a task id `TASK-N` of this task; None for any other id."""
    match = _TASK_ID.fullmatch(task_id)
    return int(match[2]) if match and match[1] == task else None


class Artifact(Struct, frozen=True):
    """One image that this run builds; `name` is the image name as written in skaffold.yaml."""

    name: Text = ""


class BuildMetadata(Struct, frozen=True):
    artifacts: tuple[Artifact, ...] | None = None


class Metadata(Struct, frozen=True):
    run_id: RunId = field(default="", name="runID")
    build: BuildMetadata | None = None


class MetaEvent(Struct, frozen=True):
    """Sent at the start, at each reload of skaffold.yaml and after each start of a dev loop; may lack a run id."""

    metadata: Metadata | None = None


class ActionableError(Struct, frozen=True):
    """Why a task failed. The message may be long: it quotes what kubectl or a builder printed."""

    message: str = ""


class TaskEvent(Struct, frozen=True, rename="camel"):
    """A phase of the pipeline. `iteration` counts from 1 under dev and debug and is 0 under run and deploy."""

    task: Text = ""
    status: Text = ""
    iteration: Int32 = 0
    actionable_err: ActionableError | None = None


class TargetPort(Struct, frozen=True, rename="camel"):
    """Kubernetes' IntOrString: `type` 0 is a number, 1 a port name."""

    type: Int32 = 0
    int_val: Int32 = 0
    str_val: Text = ""

    @property
    def value(self) -> int | str:
        return self.str_val if self.type == 1 else self.int_val


class PortEvent(Struct, frozen=True, rename="camel"):
    """A port is forwarded, or forwarding it failed: by Skaffold, or by a client that posts to /v2/events/handle."""

    id: Text = ""
    task_id: Text = field(default="", name="task_id")
    local_port: Int32 = 0
    container_name: Text = ""
    namespace: Text = ""
    resource_type: Text = ""
    resource_name: Text = ""
    address: Text = ""
    target_port: TargetPort | None = None


class StatusCheckEvent(Struct, frozen=True, rename="camel"):
    """A resource whose rollout Skaffold waits for: `parity:deployment/app`, or `deployment/app` without -n.

    `task_id`: `Deploy-N` in iteration N.
    """

    resource: Text = ""
    status: Text = ""
    actionable_err: ActionableError | None = None
    task_id: Text = field(default="", name="task_id")

    @property
    def namespace(self) -> str:
        """The namespace in the resource id; "" if it has none, or one that no namespace can have."""
        namespace, colon, _ = self.resource.partition(":")
        return namespace if colon and _NAMESPACE.fullmatch(namespace) else ""


EventBody = MetaEvent | TaskEvent | PortEvent | StatusCheckEvent


class SkaffoldEvent(Struct, frozen=True):
    """One line of the stream. `at`: Skaffold's own time (UTC, to the microsecond), None if the line has none."""

    at: datetime | None
    body: EventBody


class _Result(Struct, frozen=True, rename="camel"):
    """Skaffold sends unset messages as null. Keys not named here, log events among them, are skipped unread."""

    timestamp: Instant | None = None
    meta_event: MetaEvent | None = None
    task_event: TaskEvent | None = None
    port_event: PortEvent | None = None
    status_check_subtask_event: StatusCheckEvent | None = None

    @property
    def body(self) -> EventBody | None:
        return self.task_event or self.port_event or self.meta_event or self.status_check_subtask_event


class _StreamLine(Struct, frozen=True):
    """grpc-gateway's wrapper of one message. Its `{"error": …}` is ignored: the stream ends after it anyway."""

    result: _Result | None = None


_decoder = msgspec.json.Decoder(_StreamLine)


class EventDecoder:
    """Turns bytes into events. `garbage` counts the skipped lines."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self.garbage = 0
        self._max_line = max_line
        self._tail = bytearray()
        self._overlong = False  # the beginning of the current line was dropped

    def feed(self, data: bytes) -> list[SkaffoldEvent]:
        """Returns the events whose lines end in `data`, in order. Raises nothing, whatever the bytes are."""
        *whole, rest = data.split(b"\n")
        events = [event for part in whole if (event := self._line(part))]
        self._keep(rest)
        return events

    def _keep(self, part: bytes) -> None:
        if len(self._tail) + len(part) > self._max_line:
            self._overlong = True
            self._tail.clear()
        elif not self._overlong:
            self._tail += part

    def _line(self, part: bytes) -> SkaffoldEvent | None:
        self._keep(part)
        line, overlong = bytes(self._tail), self._overlong
        self._tail.clear()
        self._overlong = False
        if overlong:
            self.garbage += 1
            return None
        return self._event(line) if line.strip() else None

    def _event(self, line: bytes) -> SkaffoldEvent | None:
        try:
            result = _decoder.decode(line).result
        except (msgspec.MsgspecError, ValueError, RecursionError):  # the last: brackets nested without end
            self.garbage += 1
            return None
        body = result.body if result is not None else None
        return None if result is None or body is None else SkaffoldEvent(result.timestamp, body)
