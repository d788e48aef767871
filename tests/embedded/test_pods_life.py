"""Pods and deployments: what a rollout shows a watch, what an application sees of its pod's end."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.apps import echo, late
from fixtures.embedded.kinds import BY_NAME
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web

POD = BY_NAME["Pod"]


def is_ready(pod: dict[str, Any]) -> bool:
    return {"Ready": "True"}.items() <= {item["type"]: item["status"] for item in pod["status"]["conditions"]}.items()


async def test_a_rollout_is_never_without_a_ready_pod(cluster: EmbeddedCluster) -> None:
    """New pods are Ready before old ones get their deletionTimestamp, and old ones are gone at the end."""
    deployment = await cluster.deployment("web", [Port(8080, web("one"))], replicas=2)
    old = {pod.name for pod in deployment.pods}
    start = cluster.store.revision
    await deployment.rollout()
    serving, fewest = set(old), 2
    for change in cluster.store.since(POD, start):
        metadata = change.object["metadata"]
        alive = change.type != "DELETED" and "deletionTimestamp" not in metadata and is_ready(change.object)
        serving = serving | {metadata["name"]} if alive else serving - {metadata["name"]}
        fewest = min(fewest, len(serving))
    assert fewest == 2
    assert serving == {pod.name for pod in deployment.pods}
    assert not serving & old


async def test_pods_belong_to_their_deployment(cluster: EmbeddedCluster) -> None:
    """A pod's controller is a ReplicaSet, whose controller is the deployment; labels and selector fit."""
    deployment = await cluster.deployment("web", [Port(8080)], labels={"skaffold.dev/run-id": "r"})
    metadata = deployment.pods[0].manifest["metadata"]
    replica_sets = cluster.store.snapshot(BY_NAME["ReplicaSet"])
    owner = replica_sets["default", metadata["ownerReferences"][0]["name"]]
    selector = owner["spec"]["selector"]["matchLabels"]
    assert owner["metadata"]["ownerReferences"][0]["name"] == "web"
    assert selector.items() <= metadata["labels"].items()
    assert metadata["labels"]["skaffold.dev/run-id"] == "r"


async def test_scaling(cluster: EmbeddedCluster) -> None:
    """Scaled to nothing there is no pod; scaled up again there are others."""
    deployment = await cluster.deployment("web", [Port(8080, web("one"))], replicas=2)
    before = {pod.name for pod in deployment.pods}
    await deployment.scale(0)
    assert cluster.store.snapshot(POD) == {}
    await deployment.scale(1)
    assert len(deployment.pods) == 1
    assert deployment.pods[0].name not in before
    await deployment.delete()
    assert [cluster.store.snapshot(kind) for kind in BY_NAME.values()] == [{}] * len(BY_NAME)


async def test_an_accepted_request_is_finished(cluster: EmbeddedCluster) -> None:
    """A pod that is deleted with grace answers what it has accepted, and accepts no more."""
    pod = await cluster.pod("app", [Port(7001, late(0.1))])
    async with await pod.sandbox.dial(7001) as conn:
        await conn.send_all(b"hi\n")
        await pod.delete(grace=10)
        assert await conn.receive_some() == b"late: 3 hi\n"
    with pytest.raises(ConnectionRefusedError):
        await pod.sandbox.dial(7001)


async def test_grace_ends(cluster: EmbeddedCluster) -> None:
    """Without grace a connection is cut."""
    pod = await cluster.pod("app", [Port(7000, echo)])
    async with await pod.sandbox.dial(7000) as conn:
        await conn.send_all(b"a")
        assert await conn.receive_some() == b"a"
        await pod.delete()
        assert await conn.receive_some() == b""


async def test_a_port_that_listens_late(cluster: EmbeddedCluster) -> None:
    """A port with a delay refuses until then; a declared port without a handler always does."""
    pod = await cluster.pod("app", [Port(7000, echo, delay=1.0), Port(9999)])
    for port in (7000, 9999):
        with pytest.raises(ConnectionRefusedError):
            await pod.sandbox.dial(port)
    with trio.fail_after(60):
        await pod.sandbox.listening(7000)
    async with await pod.sandbox.dial(7000) as conn:
        await conn.send_all(b"a")
        assert await conn.receive_some() == b"a"
    assert pod.connections[7000] == 1
