"""`portside doctor` beside a real Skaffold finds it and does not disturb it."""

from __future__ import annotations

import json

import pytest
import trio

from tests.support.process import PORTSIDE
from tests.support.skaffold import Project, skaffold
from tests.support.sockets import free_port

pytestmark = pytest.mark.skaffold

ASKED = 5


async def test_skaffold_is_asked_and_unharmed(project: Project) -> None:
    """Several times while Skaffold waits for changes; then it still deploys one."""
    port = free_port()
    async with skaffold(project, "dev", "--port-forward=off", f"--rpc-http-port={port}") as running:
        await running.idle()
        words = [PORTSIDE, "doctor", "-n", project.namespace, "--skaffold", str(port), "--output", "json"]
        for _ in range(ASKED):
            done = await trio.run_process(
                words, env=project.environment, cwd=project.folder, capture_stdout=True, check=False
            )
            findings = {found["check"]: found for found in map(json.loads, done.stdout.splitlines())}
            assert done.returncode == 0, findings
            assert findings["skaffold api"]["found"] == f"Skaffold answers at http://127.0.0.1:{port}"
            assert findings["transport"]["level"] == "ok"
            assert findings["configuration"]["level"] == "ok"
        project.save("another version")
        await running.idle(2)
