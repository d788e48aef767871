"""Finds out whether this process is inside a cluster's network: in one of its pods, or on one of its nodes.

Only a proof counts. A pod of the cluster must have this process's host name and one of its addresses; a node must have
this machine's id and one of its addresses. Without the permission to look there is no proof.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable
from http import HTTPStatus

import trio
from msgspec import field

from forwarders.system.files import machine_id
from watcher.cluster.api_client import ApiClient
from watcher.cluster.credentials import own_namespace
from watcher.cluster.kinds import POD, Kind, Object, Pod, Resource
from watcher.cluster.store import Watch
from watcher.errors import ApiError, ClusterError, NotFoundError

logger = logging.getLogger("portside.cluster")

# Seconds after which the first question is asked: the start needs the processor and the API server more.
ASK_AFTER = 1.0
# Seconds until an API server that cannot be reached is asked again.
RETRY = 30.0
# Nodes that are looked at if none has this machine's host name. One takes up to 50 KB, and clusters have thousands.
MOST_NODES = 10


class NodeAddress(Object, frozen=True):
    type: str = ""
    address: str = ""


class NodeInfo(Object, frozen=True):
    machine_id: str = field(default="", name="machineID")


class NodeStatus(Object, frozen=True):
    addresses: tuple[NodeAddress, ...] | None = None
    node_info: NodeInfo = NodeInfo()


class Node(Resource, frozen=True):
    status: NodeStatus = NodeStatus()


NODE = Kind("node", "nodes", "/api/v1", Node)


class OwnNetwork:
    """Whether this process is inside one cluster's network. `on_change` is called when the answer changes.

    Nothing is asked until somebody wants to know.
    """

    def __init__(self, client: ApiClient, on_change: Callable[[], None]) -> None:
        self._client = client
        self._on_change = on_change
        self._wanted = trio.Event()
        self._place = ""
        self._search = trio.CancelScope()

    @property
    def is_inside(self) -> bool:
        """Whether this process is inside the network, as far as is known; the first question starts the search."""
        self._wanted.set()
        return bool(self._place)

    def forget(self) -> None:
        """Begin again: another API server answers now, and it may be another cluster's."""
        before, self._place = self._place, ""
        self._search.cancel()
        if before:
            self._on_change()

    async def run(self) -> None:
        """Find out, once asked, whether this process is inside, and again after `forget`. Runs until cancelled."""
        while True:
            with trio.CancelScope() as self._search:
                await self._find_out()
                await trio.sleep_forever()

    async def _find_out(self) -> None:
        await self._wanted.wait()
        await trio.sleep(ASK_AFTER)
        while True:
            try:
                place = await own_place(self._client)
                await trio.lowlevel.checkpoint_if_cancelled()  # `forget` asked for a newer answer
                self._place = place
                break
            except ClusterError as error:
                logger.debug("whether this process runs inside the cluster is not known: %s", error)
            await trio.sleep(RETRY)
        if self._place:
            logger.info("portside runs %s: connections go to the pods' own addresses (--direct)", self._place)
            self._on_change()


async def own_place(client: ApiClient) -> str:
    """Where in the cluster this process runs, for people; "" without a proof. Raises ClusterError: nobody knows yet."""
    for prove in (_own_pod, _own_node):
        try:
            if place := await prove(client):
                return place
        except ApiError as error:  # not permitted, or not there
            if error.code == HTTPStatus.TOO_MANY_REQUESTS or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
    return ""


async def _own_pod(client: ApiClient) -> str:
    namespace = own_namespace()
    if not namespace:
        return ""
    pod = await client.get(POD, namespace, socket.gethostname())
    if not isinstance(pod, Pod) or pod.spec.host_network or not any(map(_is_own_address, pod.addresses)):
        return ""
    return f"in pod {pod.metadata.namespace}/{pod.metadata.name}"


async def _own_node(client: ApiClient) -> str:
    own_id = machine_id()
    if not own_id:
        return ""
    nodes: Iterable[Resource]
    try:
        nodes = (await client.get(NODE, "", socket.gethostname().lower()),)  # the kubelet's default name
    except NotFoundError:
        nodes = await client.first(Watch(NODE, ""), MOST_NODES)
    for node in nodes:
        if isinstance(node, Node) and node.status.node_info.machine_id == own_id:
            addresses = (one.address for one in node.status.addresses or () if one.type == "InternalIP")
            if any(map(_is_own_address, addresses)):
                return f"on node {node.metadata.name}"
    return ""


def _is_own_address(address: str) -> bool:
    """Whether this machine, or this network namespace, has the address. Sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, 9))  # the kernel chooses the source; to an own address that is the address itself
            return bool(sock.getsockname()[0] == address)
    except OSError:
        return False
