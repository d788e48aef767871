"""The real kubectl against the embedded cluster: a client that is not ours."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.apps import standard
from fixtures.embedded.deployment import Deployment

KUBECTL = shutil.which("kubectl")
PATIENCE = 30.0

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on the PATH")


class Kubectl:
    def __init__(self, *configuration: str) -> None:
        assert KUBECTL is not None
        self._command = [KUBECTL, *configuration]

    async def __call__(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        with trio.fail_after(PATIENCE):
            command = [*self._command, *arguments]
            return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)

    @asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[Lines]:
        """A kubectl that runs until the block ends; what it prints, on stdout and stderr, line by line."""
        command = [*self._command, *arguments]
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        try:
            yield Lines(process.stdout)
        finally:
            process.kill()
            with trio.CancelScope(shield=True), trio.move_on_after(PATIENCE):
                await process.wait()
            await process.stdout.aclose()


class Lines:
    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._kept = ""

    async def until(self, pattern: str) -> re.Match[str]:
        """Read on until a line matches. Raises trio.TooSlowError; fails where the program ends before."""
        with trio.fail_after(PATIENCE):
            while True:
                *lines, self._kept = self._kept.split("\n")
                for index, line in enumerate(lines):
                    if found := re.search(pattern, line):
                        self._kept = "\n".join([*lines[index + 1 :], self._kept])
                        return found
                data = await self._stream.receive_some()
                assert data, f"kubectl ended before {pattern!r}"
                self._kept += data.decode()


@pytest.fixture
def kubectl(cluster: EmbeddedCluster, tmp_path: Path) -> Kubectl:
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig")
    return Kubectl(f"--kubeconfig={kubeconfig}", f"--cache-dir={tmp_path / 'cache'}")


@pytest.fixture
async def web(cluster: EmbeddedCluster) -> Deployment:
    cluster.service("web", {"app": "web"}, [{"port": 80, "targetPort": "http"}])
    return await cluster.deployment("web", standard("for kubectl"))


async def test_get(kubectl: Kubectl, web: Deployment) -> None:
    """kubectl finds the kinds by their names and short names, and the pods by their labels."""
    assert (await kubectl("get", "pods", "-l", "app=web", "-o", "name")).stdout.decode() == f"pod/{web.pods[0].name}\n"
    assert (await kubectl("get", "deploy,svc", "-o", "name")).stdout == b"deployment.apps/web\nservice/web\n"
    missing = await kubectl("get", "pod", "nope")
    assert missing.stderr == b'Error from server (NotFound): pods "nope" not found\n'


async def test_get_watch(kubectl: Kubectl, web: Deployment) -> None:
    """`kubectl get --watch` shows the old pod, then the new one of a rollout."""
    arguments = ("get", "pods", "--watch", "-o", r'jsonpath={.metadata.name}{"\n"}')
    async with kubectl.running(*arguments) as lines:
        await lines.until(web.pods[0].name)
        await web.rollout()
        await lines.until(web.pods[0].name)


async def test_port_forward(kubectl: Kubectl, web: Deployment) -> None:
    """kubectl forwards to the pod and carries a request and its answer."""
    async with kubectl.running("port-forward", "--address=127.0.0.1", "service/web", ":80") as lines:
        port = int((await lines.until(r"Forwarding from 127\.0\.0\.1:(\d+) -> 8080"))[1])
        with trio.fail_after(PATIENCE):
            async with await trio.open_tcp_stream("127.0.0.1", port) as conn:
                await conn.send_all(b"GET / HTTP/1.0\r\n\r\n")
                answer = b"".join([bytes(data) async for data in conn])
    assert answer.endswith(f"for kubectl\npod {web.pods[0].name}\n".encode())
    assert web.pods[0].connections == {8080: 1}


async def test_port_forward_refused(kubectl: Kubectl, web: Deployment) -> None:
    """kubectl shows the runtime's words for a port where nothing listens."""
    async with kubectl.running("port-forward", "--address=127.0.0.1", f"pod/{web.pods[0].name}", ":9999") as lines:
        port = int((await lines.until(r"Forwarding from 127\.0\.0\.1:(\d+) -> 9999"))[1])
        async with await trio.open_tcp_stream("127.0.0.1", port):
            await lines.until(r"failed to connect to localhost:9999 .* connect: connection refused")
