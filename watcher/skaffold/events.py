"""Owns the typed v2 events of Skaffold that portside uses, field names as in Skaffold's proto/v2/skaffold.proto.

Refuses log lines: skaffoldLogEvent and applicationLogEvent carry whatever Skaffold and the pods print, secrets
included, so their text is not even decoded. Unknown and empty events have no body.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct, field

IN_PROGRESS = "InProgress"
SUCCEEDED = "Succeeded"
FAILED = "Failed"


class Artifact(Struct, frozen=True):
    """One image that this run builds; `name` is the image name as written in skaffold.yaml."""

    name: str = ""


class BuildMetadata(Struct, frozen=True):
    artifacts: tuple[Artifact, ...] | None = None


class Metadata(Struct, frozen=True):
    run_id: str = field(default="", name="runID")
    build: BuildMetadata | None = None


class MetaEvent(Struct, frozen=True):
    """Sent at the start, at each reload of skaffold.yaml and after each start of a dev loop; may lack a run id."""

    metadata: Metadata | None = None


class TaskEvent(Struct, frozen=True):
    """A phase of the pipeline. `iteration` counts from 1 under dev and debug and is 0 under run and deploy."""

    task: str = ""
    status: str = ""
    iteration: int = 0


class TargetPort(Struct, frozen=True, rename="camel"):
    """Kubernetes' IntOrString: `type` 0 is a number, 1 a port name."""

    type: int = 0
    int_val: int = 0
    str_val: str = ""

    @property
    def value(self) -> int | str:
        return self.str_val if self.type == 1 else self.int_val


class PortEvent(Struct, frozen=True, rename="camel"):
    """Somebody forwards a port, or failed to: Skaffold itself, or whoever posts to /v2/events/handle."""

    id: str = ""
    task_id: str = field(default="", name="task_id")
    local_port: int = 0
    pod_name: str = ""
    container_name: str = ""
    namespace: str = ""
    port_name: str = ""
    resource_type: str = ""
    resource_name: str = ""
    address: str = ""
    target_port: TargetPort | None = None


class StatusCheckEvent(Struct, frozen=True):
    """A resource whose rollout Skaffold awaits: `parity:deployment/app`, or `deployment/app` without -n."""

    resource: str = ""
    status: str = ""

    @property
    def namespace(self) -> str:
        """The namespace that the resource id names, "" where it names none."""
        namespace, colon, _ = self.resource.partition(":")
        return namespace if colon else ""


class DebuggingContainerEvent(Struct, frozen=True, rename="camel"):
    """A container that Skaffold prepared for a debugger. `debug_ports`: name of the protocol to container port."""

    status: str = ""
    pod_name: str = ""
    container_name: str = ""
    namespace: str = ""
    artifact: str = ""
    debug_ports: dict[str, int] | None = None


class StreamError(Struct, frozen=True):
    """The gateway's `{"error": …}` line. `code` is a gRPC status; its message is not kept, it may quote anything."""

    code: int = 0


Body = MetaEvent | TaskEvent | PortEvent | StatusCheckEvent | DebuggingContainerEvent | StreamError


class Event(Struct, frozen=True):
    """One line of the stream. `at`: Skaffold's own time (UTC, to the microsecond), None where the line has none."""

    at: datetime | None
    body: Body
