"""Owns the typed v2 events of Skaffold that portside uses, field names as in Skaffold's proto/v2/skaffold.proto.

Refuses log lines: skaffoldLogEvent and applicationLogEvent carry whatever Skaffold and the pods print, secrets
included, so their text is not even decoded. Unknown and empty events have no body.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct, field

IN_PROGRESS = "InProgress"
SUCCEEDED = "Succeeded"
FAILED = "Failed"

# Bounds of what Skaffold itself sends. Any user of this machine can post an event, and Skaffold passes it on: what is
# outside these bounds is no event. A text is a name, a resource id or an address. A number is proto's int32.
Text = Annotated[str, Meta(max_length=1024)]
Int32 = Annotated[int, Meta(ge=-(1 << 31), lt=1 << 31)]
Instant = Annotated[datetime, Meta(tz=True)]
# The value of a label, or nothing.
RunId = Annotated[str, Meta(pattern=r"\A([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?\Z")]

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


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


class TaskEvent(Struct, frozen=True):
    """A phase of the pipeline. `iteration` counts from 1 under dev and debug and is 0 under run and deploy."""

    task: Text = ""
    status: Text = ""
    iteration: Int32 = 0


class TargetPort(Struct, frozen=True, rename="camel"):
    """Kubernetes' IntOrString: `type` 0 is a number, 1 a port name."""

    type: Int32 = 0
    int_val: Int32 = 0
    str_val: Text = ""

    @property
    def value(self) -> int | str:
        return self.str_val if self.type == 1 else self.int_val


class PortEvent(Struct, frozen=True, rename="camel"):
    """Somebody forwards a port, or failed to: Skaffold itself, or whoever posts to /v2/events/handle."""

    id: Text = ""
    task_id: Text = field(default="", name="task_id")
    local_port: Int32 = 0
    pod_name: Text = ""
    container_name: Text = ""
    namespace: Text = ""
    port_name: Text = ""
    resource_type: Text = ""
    resource_name: Text = ""
    address: Text = ""
    target_port: TargetPort | None = None


class StatusCheckEvent(Struct, frozen=True):
    """A resource whose rollout Skaffold awaits: `parity:deployment/app`, or `deployment/app` without -n."""

    resource: Text = ""
    status: Text = ""

    @property
    def namespace(self) -> str:
        """The namespace that the resource id names, "" where it names none, or one that no namespace can have."""
        namespace, colon, _ = self.resource.partition(":")
        return namespace if colon and _NAMESPACE.fullmatch(namespace) else ""


class DebuggingContainerEvent(Struct, frozen=True, rename="camel"):
    """A container that Skaffold prepared for a debugger. `debug_ports`: name of the protocol to container port."""

    status: Text = ""
    pod_name: Text = ""
    container_name: Text = ""
    namespace: Text = ""
    artifact: Text = ""
    debug_ports: dict[str, Int32] | None = None


class StreamError(Struct, frozen=True):
    """The gateway's `{"error": …}` line. `code` is a gRPC status; its message is not kept, it may quote anything."""

    code: Int32 = 0


Body = MetaEvent | TaskEvent | PortEvent | StatusCheckEvent | DebuggingContainerEvent | StreamError


class Event(Struct, frozen=True):
    """One line of the stream. `at`: Skaffold's own time (UTC, to the microsecond), None where the line has none."""

    at: datetime | None
    body: Body
