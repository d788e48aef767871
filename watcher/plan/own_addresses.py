"""Decides which pods may be reached at their own addresses, without the API server. Pure.

The caller has made sure that this process is inside the cluster's network, or that the user says so. The forward tries
the address and keeps its sessions, so a wrong yes costs one short try.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from forwarders.spec import Endpoint, PodRef
from watcher.cluster import kinds
from watcher.cluster.kinds import Pod
from watcher.cluster.store import Snapshot
from watcher.plan.verdicts import PlannedForward, Verdict

# Containers that take over a pod's connections, and may accept them and then refuse what is inside: in a mesh, plain
# TCP from outside. From localhost, where the container runtime dials, they let it pass.
MESH_PROXIES = frozenset(
    {"istio-proxy", "linkerd-proxy", "kuma-sidecar", "consul-dataplane", "envoy-sidecar", "envoy", "nginx-mesh-sidecar"}
)
# Istio without sidecars: the node's proxy takes over the connections of a pod with this annotation.
AMBIENT = "ambient.istio.io/redirection"


def with_own_addresses(verdicts: Iterable[Verdict | None], cluster: Snapshot) -> Iterator[Verdict | None]:
    """The verdicts, and the pauses between them; endpoints have `own_address` if their pod may be reached there."""
    for verdict in verdicts:
        if isinstance(verdict, PlannedForward) and verdict.endpoints:
            endpoints = tuple(_with_own_address(endpoint, cluster) for endpoint in verdict.endpoints)
            yield replace(verdict, endpoints=endpoints)
        else:
            yield verdict


def _with_own_address(endpoint: Endpoint, cluster: Snapshot) -> Endpoint:
    pod = _pod(endpoint.pod, cluster)
    return endpoint if pod is None else replace(endpoint, own_address=own_address(pod))


def _pod(ref: PodRef, cluster: Snapshot) -> Pod | None:
    """As a working watch describes it: while a watch fails, another pod may have been given the address."""
    for watch, objects in cluster.objects.items():
        if watch.kind is kinds.POD and watch not in cluster.problems:
            found = objects.get((ref.namespace, ref.name))
            if isinstance(found, Pod) and found.metadata.uid == ref.uid:
                return found
    return None


def own_address(pod: Pod) -> str:
    """The address at which the pod's ports are as its containers have them; "" if there is none."""
    if pod.deleting or pod.status.phase != "Running" or pod.spec.host_network or _is_in_mesh(pod):
        return ""
    return next(iter(pod.addresses), "")


def _is_in_mesh(pod: Pod) -> bool:
    names = {one.name for one in (*pod.spec.containers, *(pod.spec.init_containers or ()))}
    return bool(names & MESH_PROXIES) or (pod.metadata.annotations or {}).get(AMBIENT) == "enabled"
