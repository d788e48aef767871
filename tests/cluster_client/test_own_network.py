"""Whether portside runs inside a cluster: only a pod or a node with its name, id and address proves that."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.cluster_client.memory_api import SERVER
from watcher.cluster import credentials, own_network
from watcher.cluster.api_client import ApiClient
from watcher.cluster.own_network import ASK_AFTER, MOST_NODES, RETRY, OwnNetwork, own_place
from watcher.errors import ApiError

ID, NAME = "0123456789abcdef0123456789abcdef", "box"
OWN, OTHER = "127.0.0.1", "192.0.2.99"


class Api(httpx.AsyncBaseTransport):
    """Answers by path; what is not there is 404."""

    def __init__(self) -> None:
        self.objects: dict[str, object] = {}
        self.status = 0
        self.refused: set[str] = set()
        self.silent: set[str] = set()
        self.asked: list[str] = []
        self.limits: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        self.asked.append(request.url.path)
        self.limits.append(request.url.params.get("limit", ""))
        if request.url.path in self.silent:
            await trio.sleep_forever()
        if self.status or request.url.path in self.refused:
            return httpx.Response(self.status or 403, stream=httpx.ByteStream(b"{}"))
        found = self.objects.get(request.url.path)
        body = json.dumps(found if found is not None else {}).encode()
        return httpx.Response(404 if found is None else 200, stream=httpx.ByteStream(body))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Api:
    """On a machine of this name and id, which is no pod."""
    monkeypatch.setattr(socket, "gethostname", lambda: NAME)
    monkeypatch.setattr(own_network, "machine_id", lambda: ID)
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", tmp_path)
    return Api()


def node(name: str, machine: str = ID, address: str = OWN, kind: str = "InternalIP") -> dict[str, object]:
    addresses = [{"type": kind, "address": address}]
    return {"metadata": {"name": name}, "status": {"addresses": addresses, "nodeInfo": {"machineID": machine}}}


def nodes(*items: dict[str, object], more: str = "") -> dict[str, object]:
    return {"metadata": {"resourceVersion": "1", "continue": more}, "items": items}


def pod(address: str = OWN, **spec: object) -> dict[str, object]:
    status = {"phase": "Running", "podIP": address}
    return {"metadata": {"name": NAME, "namespace": "shop"}, "spec": {"containers": []} | spec, "status": status}


async def place(api: Api) -> str:
    async with ApiClient(SERVER, api) as client:
        return await own_place(client)


async def test_on_a_node(api: Api) -> None:
    """By its own name, or by another one among all of them."""
    api.objects["/api/v1/nodes/box"] = node(NAME)
    assert await place(api) == "on node box"
    api.objects = {"/api/v1/nodes": nodes(node("a", "f" * 32), node("b"))}
    assert await place(api) == "on node b"


async def test_in_a_large_cluster(api: Api) -> None:
    """Where no node has this host name, a few nodes are looked at, and never all of them."""
    api.objects["/api/v1/nodes"] = nodes(*(node(f"n{n}", "f" * 32) for n in range(MOST_NODES)), more="token")
    assert await place(api) == ""
    assert api.asked == ["/api/v1/nodes/box", "/api/v1/nodes"]
    assert api.limits == ["", str(MOST_NODES)]


@pytest.mark.parametrize(
    "found",
    [node(NAME, "f" * 32), node(NAME, address=OTHER), node(NAME, kind="ExternalIP")],
    ids=["id", "address", "kind"],
)
async def test_a_machine_that_only_looks_like_a_node(api: Api, found: dict[str, object]) -> None:
    """A container may have a node's host name, a copy of a disk its id, another network its address: no proof."""
    api.objects["/api/v1/nodes/box"] = found
    assert await place(api) == ""


async def test_a_machine_without_an_id(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to compare, so nothing is asked."""
    monkeypatch.setattr(own_network, "machine_id", lambda: "")
    api.objects["/api/v1/nodes/box"] = node(NAME, "")
    assert (await place(api), api.asked) == ("", [])


async def test_in_a_pod(api: Api) -> None:
    """By the namespace that Kubernetes mounts, the host's name and the address."""
    (credentials.SERVICE_ACCOUNT / "namespace").write_text("shop\n")
    api.objects["/api/v1/namespaces/shop/pods/box"] = pod()
    assert await place(api) == "in pod shop/box"


@pytest.mark.parametrize("found", [pod(OTHER), pod(hostNetwork=True)], ids=["address", "host network"])
async def test_a_pod_of_another_cluster(api: Api, found: dict[str, object]) -> None:
    """The same name in the cluster of the kubeconfig, at another address; or one whose network is the node's."""
    (credentials.SERVICE_ACCOUNT / "namespace").write_text("shop")
    api.objects["/api/v1/namespaces/shop/pods/box"] = found
    assert await place(api) == ""


@pytest.mark.parametrize("code", [401, 403])
async def test_who_may_not_look_has_no_proof(api: Api, code: int) -> None:
    """That is an answer, and no error."""
    api.status = code
    assert await place(api) == ""


async def test_without_the_permission_to_get_pods_the_node_counts(api: Api) -> None:
    """Each proof needs its own permission alone."""
    (credentials.SERVICE_ACCOUNT / "namespace").write_text("shop")
    api.refused = {"/api/v1/namespaces/shop/pods/box"}
    api.objects["/api/v1/nodes/box"] = node(NAME)
    assert await place(api) == "on node box"


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_a_server_that_is_busy_proves_nothing(api: Api, code: int) -> None:
    """It is asked again later."""
    api.status = code
    with pytest.raises(ApiError):
        await place(api)


async def test_a_server_that_does_not_answer_delays_nothing(
    api: Api, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """The answer is no until there is one, and other requests go on meanwhile."""
    api.silent = {"/api/v1/nodes/box"}
    api.objects["/api/v1/nodes/other"] = node("other")
    async with ApiClient(SERVER, api) as client:
        network = OwnNetwork(client, lambda: None)
        nursery.start_soon(network.run)
        assert not network.is_inside
        await trio.sleep(2 * ASK_AFTER)
        assert api.asked == ["/api/v1/nodes/box"]
        with trio.fail_after(0.1):
            assert (await client.get(own_network.NODE, "", "other")).metadata.name == "other"
        assert not network.is_inside


async def test_it_is_asked_once_somebody_wants_to_know(
    api: Api, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """An API server that cannot be reached is asked again; the answer is told once."""
    changes: list[bool] = []
    tries: list[str] = []
    async with ApiClient(SERVER, api) as client:
        network = OwnNetwork(client, lambda: changes.append(network.is_inside))
        nursery.start_soon(network.run)
        await trio.sleep(1)
        assert api.asked == []
        failures = iter([httpx.ConnectError("away")])

        async def away(request: httpx.Request) -> httpx.Response:
            tries.append(request.url.path)
            for failure in failures:
                raise failure
            return await Api.handle_async_request(api, request)

        api.handle_async_request = away  # type: ignore[method-assign] # for this one
        api.objects["/api/v1/nodes/box"] = node(NAME)
        assert not network.is_inside
        await trio.sleep(ASK_AFTER - 0.1)
        assert tries == []  # the start comes first
        await trio.sleep(RETRY)
        assert changes == []
        await trio.sleep(1)
        assert changes == [True]


async def test_another_cluster_is_asked_anew(api: Api, autojump_clock: MockClock) -> None:
    """After the kubeconfig was edited to another cluster's API server: what was proven there does not count here."""
    api.objects[f"/api/v1/nodes/{NAME}"] = node(NAME)
    answers = list[bool]()
    async with ApiClient(SERVER, api) as client, trio.open_nursery() as nursery:
        network = OwnNetwork(client, lambda: None)
        nursery.start_soon(network.run)
        for objects in (api.objects, {}, api.objects):
            api.objects = objects
            network.forget()
            answers.append(network.is_inside)
            await trio.sleep(RETRY + ASK_AFTER)
            answers.append(network.is_inside)
        nursery.cancel_scope.cancel()
    assert answers == [False, True, False, False, False, True]
