"""The Kubernetes kinds that portside knows, and the few fields that it reads of their objects.

Field names are the API's own (camelCase there, snake_case here); everything else in an object is skipped. Short names
are those of `kubectl api-resources`.
"""

from __future__ import annotations

from msgspec import Struct, field

RUN_ID_LABEL = "skaffold.dev/run-id"


class Object(Struct, frozen=True, rename="camel", gc=False):
    """Base of all Kubernetes types. The garbage collector skips them: there may be thousands, without cycles."""


class ObjectReference(Object, frozen=True):
    kind: str = ""
    name: str = ""
    uid: str = ""


class OwnerReference(ObjectReference, frozen=True):
    controller: bool | None = None


class ObjectMeta(Object, frozen=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that created the object and replaces it; there is at most one."""
        return next((owner for owner in self.owner_references or () if owner.controller), None)


class Resource(Object, frozen=True):
    """Base of all objects that the API lists."""

    metadata: ObjectMeta


class ContainerPort(Object, frozen=True):
    container_port: int
    name: str = ""
    protocol: str = "TCP"


class PodContainer(Object, frozen=True):
    name: str = ""
    image: str = ""
    ports: tuple[ContainerPort, ...] | None = None
    restart_policy: str | None = None


class PodSpec(Object, frozen=True):
    containers: tuple[PodContainer, ...] = ()
    init_containers: tuple[PodContainer, ...] | None = None
    host_network: bool = False


class Condition(Object, frozen=True):
    type: str = ""
    status: str = ""


class ContainerStateWaiting(Object, frozen=True):
    reason: str = ""


class ContainerState(Object, frozen=True):
    waiting: ContainerStateWaiting | None = None


class ContainerStatus(Object, frozen=True):
    state: ContainerState | None = None


class PodIP(Object, frozen=True):
    ip: str = ""


class PodStatus(Object, frozen=True):
    """The status of a pod. `pod_ips`: one for each address family; `pod_ip` is the first of them."""

    phase: str = ""
    pod_ip: str | None = field(default=None, name="podIP")
    pod_ips: tuple[PodIP, ...] | None = field(default=None, name="podIPs")
    conditions: tuple[Condition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(Resource, frozen=True):
    """A pod: its containers, addresses and conditions (core/v1, PodConditionType)."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    @property
    def addresses(self) -> tuple[str, ...]:
        """The pod's own addresses. A pod that has ended keeps them in its status, though others may have them now."""
        if self.status.phase in {"Succeeded", "Failed"}:
            return ()
        ips = (self.status.pod_ip, *(one.ip for one in self.status.pod_ips or ()))
        return tuple(dict.fromkeys(ip for ip in ips if ip))

    @property
    def ready(self) -> bool:
        """The Ready condition; False while the pod is being deleted."""
        return not self.deleting and self._is("Ready")

    @property
    def starting(self) -> bool:
        """Whether it has a node, and no container runs yet: a session can be opened as soon as its sandbox runs."""
        return self.status.phase == "Pending" and not self.deleting and self._is("PodScheduled")

    def container_at(self, port: int) -> str:
        """The name of the container that declares this port, or else of the first one; "" without containers."""
        declared = (c.name for c in self.spec.containers if any(p.container_port == port for p in c.ports or ()))
        return next(declared, "") or next((c.name for c in self.spec.containers), "")

    def _is(self, condition: str) -> bool:
        return any(c.type == condition and c.status == "True" for c in self.status.conditions or ())


class ServicePort(Object, frozen=True):
    port: int
    name: str = ""
    protocol: str = "TCP"
    target_port: int | str | None = None


class ServiceSpec(Object, frozen=True):
    ports: tuple[ServicePort, ...] | None = None
    selector: dict[str, str] | None = None
    type: str = "ClusterIP"
    cluster_ip: str | None = field(default=None, name="clusterIP")
    external_name: str | None = None
    publish_not_ready_addresses: bool = False


class Service(Resource, frozen=True):
    spec: ServiceSpec = ServiceSpec()


class Requirement(Object, frozen=True):
    key: str
    operator: str
    values: tuple[str, ...] | None = None


class LabelSelector(Object, frozen=True):
    match_labels: dict[str, str] | None = None
    match_expressions: tuple[Requirement, ...] | None = None


class PodTemplate(Object, frozen=True):
    """The template of a workload's pods."""

    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()


class WorkloadSpec(Object, frozen=True):
    selector: LabelSelector | None = None
    template: PodTemplate = PodTemplate()


class WorkloadStatus(Object, frozen=True):
    conditions: tuple[Condition, ...] | None = None


class Workload(Resource, frozen=True):
    """Deployment, ReplicaSet, StatefulSet, DaemonSet or Job: all have a label selector and a template."""

    spec: WorkloadSpec = WorkloadSpec()
    status: WorkloadStatus = WorkloadStatus()

    @property
    def finished(self) -> bool:
        """Whether this is a Job that has completed or failed, so it starts no more pods (batch/v1)."""
        conditions = self.status.conditions or ()
        return any(c.type in {"Complete", "Failed"} and c.status == "True" for c in conditions)


class ReplicationControllerSpec(Object, frozen=True):
    selector: dict[str, str] | None = None
    template: PodTemplate = PodTemplate()


class ReplicationController(Resource, frozen=True):
    spec: ReplicationControllerSpec = ReplicationControllerSpec()


class JobTemplate(Object, frozen=True):
    spec: WorkloadSpec = WorkloadSpec()


class CronJobSpec(Object, frozen=True):
    job_template: JobTemplate = JobTemplate()


class CronJob(Resource, frozen=True):
    """A CronJob. The Jobs that it creates have an owner reference to it."""

    spec: CronJobSpec = CronJobSpec()


class EndpointConditions(Object, frozen=True):
    ready: bool | None = None


class SliceEndpoint(Object, frozen=True):
    """One endpoint of a service. A missing condition counts as true (discovery/v1 types.go)."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    target_ref: ObjectReference | None = None


class EndpointPort(Object, frozen=True):
    port: int | None = None
    name: str | None = None
    protocol: str | None = None


class EndpointSlice(Resource, frozen=True):
    """Endpoints of a service, written by a controller, or by a person for a service without a selector."""

    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


class Kind(Struct, frozen=True):
    """A kind of objects in the API. `singular`: Skaffold's resourceType in lower case. `path`: the API group's prefix.

    `metadata_only`: request only the objects' metadata (PartialObjectMetadata).
    """

    singular: str
    plural: str
    path: str
    decodes_to: type[Resource]
    short: tuple[str, ...] = ()
    metadata_only: bool = False


POD = Kind("pod", "pods", "/api/v1", Pod, ("po",))
SERVICE = Kind("service", "services", "/api/v1", Service, ("svc",))
REPLICATION_CONTROLLER = Kind(
    "replicationcontroller", "replicationcontrollers", "/api/v1", ReplicationController, ("rc",)
)
DEPLOYMENT = Kind("deployment", "deployments", "/apis/apps/v1", Workload, ("deploy",))
REPLICA_SET = Kind("replicaset", "replicasets", "/apis/apps/v1", Workload, ("rs",))
STATEFUL_SET = Kind("statefulset", "statefulsets", "/apis/apps/v1", Workload, ("sts",))
DAEMON_SET = Kind("daemonset", "daemonsets", "/apis/apps/v1", Workload, ("ds",))
JOB = Kind("job", "jobs", "/apis/batch/v1", Workload)
# Watched for services without a selector; not a target of forwards.
ENDPOINT_SLICE = Kind("endpointslice", "endpointslices", "/apis/discovery.k8s.io/v1", EndpointSlice)
# Watched for Deployments: only the owners and revisions.
REPLICA_SET_METADATA = Kind("replicaset", "replicasets", "/apis/apps/v1", Resource, metadata_only=True)
# Listed for completion only.
NAMESPACE = Kind("namespace", "namespaces", "/api/v1", Resource, metadata_only=True)
CRON_JOB = Kind("cronjob", "cronjobs", "/apis/batch/v1", CronJob, ("cj",))

KINDS = (
    POD,
    SERVICE,
    DEPLOYMENT,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    STATEFUL_SET,
    DAEMON_SET,
    JOB,
    CRON_JOB,
)
BY_NAME = {name: kind for kind in KINDS for name in (kind.singular, kind.plural, *kind.short)}
