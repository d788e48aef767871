"""A pod whose sandbox ends gets another one from the kubelet: the same pod and uid, behind new sessions only."""

from __future__ import annotations

import subprocess
from functools import partial

import httpx
import pytest
import trio

from fixtures.cluster.bed import Bed
from tests.support.objects import apply, deployment, rolled_out
from tests.support.process import portside

pytestmark = pytest.mark.cluster

KIND, NAME = '"io.cri-containerd.kind"', '"io.kubernetes.pod.name"'
RESTARTS = "jsonpath={.status.containerStatuses[0].restartCount}"


def kill_sandbox(bed: Bed, pod: str) -> None:
    """Kill the process that holds the pod's namespaces."""
    program = bed.state.binaries.get("ctr", "ctr")
    ctr = [program, "--address", str(bed.layout.containerd_socket), "--namespace", "k8s.io"]
    found = ["containers", "ls", "--quiet", f"labels.{NAME}=={pod},labels.{KIND}==sandbox"]
    (sandbox,) = subprocess.run([*ctr, *found], check=True, capture_output=True, text=True, timeout=60).stdout.split()
    subprocess.run([*ctr, "tasks", "kill", "--signal", "SIGKILL", sandbox], check=True, timeout=60)


async def get(url: str) -> bool:
    """Whether a request on a new connection is answered."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        try:
            return (await client.get(url)).is_success
        except httpx.HTTPError:
            return False  # its connection was open when the sandbox ended


@pytest.mark.parametrize("kind", ["pod", "deployment"])
async def test_new_connections_reach_the_new_sandbox(bed: Bed, space: str, kind: str) -> None:
    """A pod that was named stays the target all the time, one of a workload only while it is Ready: both are back."""
    name = f"replaced-{kind}"
    apply(bed, space, deployment(name))
    rolled_out(bed, space, name)
    kubectl = partial(bed.kubectl, "-n", space)
    pod = kubectl("get", "pod", "-l", f"app={name}", "-o", "jsonpath={.items[0].metadata.name}")
    target = {"pod": pod, "deployment": name}[kind]
    async with portside("forward", "-n", space, f"{kind}/{target}", ":8080", environment=bed.environment()) as running:
        url = (await running.ready(target))["url"]
        assert await get(url)
        await trio.to_thread.run_sync(kill_sandbox, bed, pod)
        async with trio.open_nursery() as nursery:

            async def go_on() -> None:
                while True:
                    await get(url)
                    await trio.sleep(0.1)

            nursery.start_soon(go_on)  # sessions to the old sandbox are used until the end
            wait = partial(kubectl, "wait", f"pod/{pod}", f"--for={RESTARTS}=1", "--timeout=60s", timeout=90)
            await trio.to_thread.run_sync(wait)
            wait = partial(kubectl, "wait", f"pod/{pod}", "--for=condition=Ready", "--timeout=60s", timeout=90)
            await trio.to_thread.run_sync(wait)
            with trio.fail_after(20):  # less than the hold time
                assert await get(url)
            nursery.cancel_scope.cancel()
        assert (await running.ready(target))["pod"] == pod
