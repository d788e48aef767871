"""The right pod on the real cluster, where kubectl's own choice is known: by owner, by ordinal, and it stays."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from fixtures.cluster.bed import Bed
from tests.cluster_client.test_real_apiserver import kubeconfig
from tests.support.objects import Manifest, app_container, apply, deployment, namespace, rolled_out, service
from tests.support.probe import get
from tests.support.process import Portside, Record, portside
from tests.support.sockets import free_port

pytestmark = pytest.mark.cluster

# As charts write them: the same on all that belongs to one release.
RELEASE = {"app": "release"}


def sharing(manifest: Manifest) -> Manifest:
    """The same workload, with labels and selector that others of the release have too."""
    manifest["spec"]["selector"] = {"matchLabels": RELEASE}
    manifest["spec"]["template"]["metadata"]["labels"] = RELEASE
    return manifest


def stateful_set(name: str, replicas: int) -> Manifest:
    made = deployment(name, replicas=replicas)
    return made | {"kind": "StatefulSet", "spec": made["spec"] | {"serviceName": name}}


def job(name: str) -> Manifest:
    pod = {"containers": [app_container()], "restartPolicy": "Never", "automountServiceAccountToken": False}
    template = {"metadata": {"labels": RELEASE}, "spec": pod}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template}}


def owner_of(bed: Bed, space: str, pod: str) -> str:
    return bed.kubectl("-n", space, "get", "pod", pod, "-o", "jsonpath={.metadata.ownerReferences[0].name}")


def until_running(bed: Bed, space: str, labels: str) -> None:
    """Returns once a pod with these labels runs."""
    bed.kubectl("-n", space, "wait", "--for=create", "pod", "-l", labels, "--timeout=60s", timeout=90)
    phase = "--for=jsonpath={.status.phase}=Running"
    bed.kubectl("-n", space, "wait", "pod", "-l", labels, phase, "--timeout=60s", timeout=90)


def delete_pod(bed: Bed, space: str, pod: str) -> None:
    """And wait until it is gone, and another one is there."""
    bed.kubectl("-n", space, "delete", "pod", pod, "--grace-period=1", timeout=60)


@pytest.fixture(scope="module")
def release(bed: Bed, space: str) -> str:
    """Two Deployments and a Job with the same labels, the Job's pod the newest."""
    apply(bed, space, sharing(deployment("web", replicas=3)), sharing(deployment("api")))
    rolled_out(bed, space, "web", "api")
    apply(bed, space, job("migrate"))
    until_running(bed, space, "job-name=migrate")
    return space


async def test_workloads_that_share_labels_each_have_their_own_pods(bed: Bed, release: str) -> None:
    """kubectl takes whichever matches; here deploy/web is web, deploy/api is api, and the job is the job."""
    words = ("deploy/web", ":8080", "deploy/api", ":8080", "job/migrate", ":8080")
    async with portside("forward", "-n", release, *words, environment=bed.environment()) as running:
        for name, made_by in (("web", "web-"), ("api", "api-"), ("migrate", "migrate")):
            record = await running.ready(name)
            assert owner_of(bed, release, record["pod"]).startswith(made_by)
            assert (await get(record["localPort"]))[0] == 200


async def test_a_neighbour_that_is_replaced_moves_nobody(bed: Bed, release: str) -> None:
    """The pod that serves goes on; when it goes itself, another takes over."""
    async with portside("forward", "-n", release, "deploy/web", ":8080", environment=bed.environment()) as running:
        before = await running.ready("web")
        pods = bed.kubectl("-n", release, "get", "pods", "-o", "name").split()
        others = [pod.removeprefix("pod/") for pod in pods if "/web-" in pod and before["pod"] not in pod]
        for other in others:
            delete_pod(bed, release, other)
            rolled_out(bed, release, "web")
        assert (running.last("web") or {})["pod"] == before["pod"]
        assert (await get(before["localPort"]))[0] == 200
        delete_pod(bed, release, before["pod"])
        await running.wait_for(lambda _: moved(running, before))
        assert owner_of(bed, release, (running.last("web") or {})["pod"]).startswith("web-")


def moved(running: Portside, before: Record) -> bool:
    last = running.last(before["resourceName"]) or {}
    return bool(last["state"] == "ready" and last["pod"] != before["pod"])


async def test_a_rollout_moves_everybody(bed: Bed, release: str) -> None:
    """Nobody stays on a pod of the old revision, nor when the old revision becomes the newest again."""
    async with portside("forward", "-n", release, "deploy/web", ":8080", environment=bed.environment()) as running:
        served = [await running.ready("web")]
        for words in (("restart", "deployment/web"), ("undo", "deployment/web")):
            bed.kubectl("-n", release, "rollout", *words)
            rolled_out(bed, release, "web")
            await running.wait_for(lambda _: moved(running, served[-1]))
            served.append(await running.ready("web"))
        first, second, third = (record["pod"].rpartition("-")[0] for record in served)
        assert first == third != second


async def test_replica_sets_that_may_not_be_listed_are_done_without(bed: Bed, release: str, tmp_path: Path) -> None:
    """kubectl needs no such right. The pods' names tell then, and the other Deployment's pods are still not served."""
    rules = ("--verb=get,list,watch", "--resource=pods,deployments.apps")
    bed.kubectl("-n", release, "create", "role", "few", *rules)
    bed.kubectl("-n", release, "create", "role", "few-forward", "--verb=create,get", "--resource=pods/portforward")
    bed.kubectl("-n", release, "create", "serviceaccount", "few")
    for role in ("few", "few-forward"):
        bed.kubectl("-n", release, "create", "rolebinding", role, f"--role={role}", f"--serviceaccount={release}:few")
    token = bed.kubectl("-n", release, "create", "token", "few").strip()
    environment = bed.environment() | {"KUBECONFIG": kubeconfig(bed, tmp_path / "few", {"token": token})}
    async with portside("forward", "-v", "-n", release, "deploy/api", ":8080", environment=environment) as running:
        record = await running.ready("api")
        assert owner_of(bed, release, record["pod"]).startswith("api-")
        assert (await get(record["localPort"]))[0] == 200
        assert "cannot list replicasets" in running.stderr


@pytest.fixture(scope="module")
def database(bed: Bed) -> Iterator[str]:
    """A namespace with a StatefulSet of three, and a service before it."""
    with namespace(bed, f"owners-db-{free_port()}") as name:
        apply(bed, name, stateful_set("db", 3), service("db", port=9482))
        bed.kubectl("-n", name, "rollout", "status", "statefulset/db", "--timeout=60s", timeout=90)
        yield name


@pytest.mark.parametrize("target", ["sts/db", "svc/db"])
async def test_a_stateful_sets_first_pod_serves_and_stays(bed: Bed, database: str, target: str) -> None:
    """As kubectl chooses. Its neighbours are replaced, and are newer then: the client's pod is the same."""
    port = "8080" if target.startswith("sts") else "9482"
    theirs = await kubectls_choice(bed, database, target, port)
    async with portside("forward", "-n", database, target, f":{port}", environment=bed.environment()) as running:
        before = await running.ready("db")
        assert before["pod"] == theirs == "db-0"
        for other in ("db-2", "db-1"):
            delete_pod(bed, database, other)
            bed.kubectl("-n", database, "rollout", "status", "statefulset/db", "--timeout=60s", timeout=90)
        assert (running.last("db") or {})["pod"] == "db-0"
        assert (await get(before["localPort"]))[0] == 200


async def kubectls_choice(bed: Bed, space: str, target: str, port: str) -> str:
    """The pod that answers through kubectl's own forward."""
    local = free_port()
    command = [str(bed.binary("kubectl")), "-n", space, "port-forward", target, f"{local}:{port}"]
    process = await trio.lowlevel.open_process(command, env=bed.environment(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    async with process.stdout:
        assert b"Forwarding from" in await process.stdout.receive_some()
        _, headers, _ = await get(local, "/")
        process.terminate()
        await process.wait()
    return headers["x-pod"]


async def test_a_service_that_publishes_unready_pods_serves_at_once(bed: Bed, space: str) -> None:
    """Its endpoints are ready as soon as they run, so nobody waits out the patience with unready pods."""
    never = deployment("early")
    never["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = {"exec": {"command": ["/nothing"]}}
    early = service("early", port=9483)
    early["spec"]["publishNotReadyAddresses"] = True
    apply(bed, space, never, early)
    until_running(bed, space, "app=early")
    async with portside("forward", "-n", space, "svc/early", ":9483", environment=bed.environment()) as running:
        record = await running.ready("early")
        assert not [one["reason"] for one in running.records if "is ready" in one.get("reason", "")]
        assert (await get(record["localPort"]))[0] == 200


async def test_a_port_by_name_listens_at_its_number_and_is_tcp(bed: Bed, space: str) -> None:
    """The service's number, as with kubectl; in another container the same name is a UDP port."""
    mixed = deployment("mixed")
    udp = app_container() | {"name": "udp", "ports": [{"name": "http", "containerPort": 9999, "protocol": "UDP"}]}
    udp["env"] = [{"name": "PORT", "value": "9999"}]
    mixed["spec"]["template"]["spec"]["containers"].insert(0, udp)
    port = free_port()
    apply(bed, space, mixed, service("mixed", port=port))
    until_running(bed, space, "app=mixed")
    words = ("forward", "-n", space, "svc/mixed", "http", "deploy/mixed", "http")
    async with portside(*words, environment=bed.environment()) as running:
        through: dict[str, Any] = await running.ready("mixed", resourceType="service")
        direct = await running.ready("mixed", resourceType="deployment")
        assert (through["localPort"], through["requestedPort"], direct["requestedPort"]) == (port, port, 8080)
        assert {through["podPort"], direct["podPort"]} == {8080}


async def test_a_headless_services_port_is_the_pods(bed: Bed, space: str) -> None:
    """kubectl connects there too: the API ignores targetPort where a service has no address."""
    direct = deployment("direct", HTTP_PORTS="8080,9090")
    headless = service("direct", port=9090, target=8080)
    headless["spec"]["clusterIP"] = "None"
    apply(bed, space, direct, headless)
    rolled_out(bed, space, "direct")
    kubectl = [str(bed.binary("kubectl")), "-n", space, "port-forward", "svc/direct", ":9090"]
    process = await trio.lowlevel.open_process(kubectl, env=bed.environment(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    async with process.stdout:
        assert b"-> 9090" in await process.stdout.receive_some()
        process.terminate()
        await process.wait()
    async with portside("forward", "-n", space, "svc/direct", ":9090", environment=bed.environment()) as running:
        record = await running.ready("direct")
        assert record["podPort"] == 9090
        assert (await get(record["localPort"]))[0] == 200


async def test_labelled_objects_are_looked_for_in_the_namespaces_that_were_named(bed: Bed, space: str) -> None:
    """`watch --cluster -n A -n B`; the context's alone without -n, all with -A."""
    labels = {"portside.test/run": space}
    with namespace(bed, f"{space}-b") as other, namespace(bed, f"{space}-c") as third:
        for name in (space, other, third):
            apply(bed, name, service(f"svc-{name}", port=free_port(), labels=labels))
        words = ("watch", "--cluster", "-l", f"portside.test/run={space}", "--port-forward=services")
        for limits, expected in (
            (("-n", space, "-n", other), {space, other}),
            (("-n", other), {other}),
            (("-A",), {space, other, third}),
            ((), set()),
        ):
            async with portside(*words, *limits, environment=bed.environment()) as running:
                await running.wait_for(lambda records: any(r["kind"] == "plan" and r["settled"] for r in records))
                assert {record["namespace"] for record in running.forwards} == expected
