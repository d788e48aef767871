"""Owns the table of Kubernetes kinds that portside knows: names, short names, where the API serves them.

Refuses behaviour. Short names are those of `kubectl api-resources`.
"""

from __future__ import annotations

from msgspec import Struct

from watcher.cluster import objects


class Kind(Struct, frozen=True):
    """`singular` is Skaffold's resourceType in lower case; `path` is the API group's prefix.

    `metadata_only`: the API server is asked for the objects' metadata alone (PartialObjectMetadata).
    """

    singular: str
    plural: str
    path: str
    decodes_to: type[objects.Resource]
    short: tuple[str, ...] = ()
    metadata_only: bool = False


POD = Kind("pod", "pods", "/api/v1", objects.Pod, ("po",))
SERVICE = Kind("service", "services", "/api/v1", objects.Service, ("svc",))
REPLICATION_CONTROLLER = Kind(
    "replicationcontroller", "replicationcontrollers", "/api/v1", objects.ReplicationController, ("rc",)
)
DEPLOYMENT = Kind("deployment", "deployments", "/apis/apps/v1", objects.Workload, ("deploy",))
REPLICA_SET = Kind("replicaset", "replicasets", "/apis/apps/v1", objects.Workload, ("rs",))
STATEFUL_SET = Kind("statefulset", "statefulsets", "/apis/apps/v1", objects.Workload, ("sts",))
DAEMON_SET = Kind("daemonset", "daemonsets", "/apis/apps/v1", objects.Workload, ("ds",))
JOB = Kind("job", "jobs", "/apis/batch/v1", objects.Workload)
# Watched on behalf of services; nobody forwards to one.
ENDPOINT_SLICE = Kind("endpointslice", "endpointslices", "/apis/discovery.k8s.io/v1", objects.EndpointSlice)
# Watched on behalf of Deployments, with nothing but their owners and revisions.
REPLICA_SET_METADATA = Kind("replicaset", "replicasets", "/apis/apps/v1", objects.Resource, metadata_only=True)
CRON_JOB = Kind("cronjob", "cronjobs", "/apis/batch/v1", objects.CronJob, ("cj",))

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
