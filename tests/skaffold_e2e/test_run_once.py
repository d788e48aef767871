"""`portside run -- skaffold run` and `deploy`: Skaffold ends, and the forwards of what it deployed stay."""

from __future__ import annotations

import pytest

from tests.skaffold_e2e.developing import all_ready, text_at
from tests.support.process import in_session, portside
from tests.support.skaffold import Project
from tests.support.sockets import is_free

pytestmark = pytest.mark.skaffold


async def test_forwards_outlive_skaffold_run(project: Project) -> None:
    """With --port-forward portside waits for Ctrl-C, and the forwards answer until then; exit code 0."""
    words = ("run", "--", "skaffold", "run", "--port-forward", "-n", project.namespace)
    async with portside(*words, environment=project.environment, folder=project.folder, session=True) as running:
        records = await all_ready(running)
        lost = {"kind": "skaffold", "attached": False}
        await running.wait_for(lambda seen: any(lost.items() <= record.items() for record in seen))
        for record in records.values():
            assert (await text_at(record)).startswith(f"hello from {project.namespace}, version 1")
        running.interrupt()
        await running.stopped()
        assert await running.wait(10) == 0
        assert all(is_free(record["localPort"]) for record in records.values())
        assert "Traceback" not in running.stderr
        assert not in_session(running.process.pid)


async def test_without_port_forward_it_ends_with_skaffold(project: Project) -> None:
    """Nothing is requested, so nothing is forwarded: portside ends with Skaffold's exit code."""
    words = ("run", "--", "skaffold", "run", "-n", project.namespace)
    async with portside(*words, environment=project.environment, folder=project.folder, session=True) as running:
        assert await running.wait(60) == 0
        assert not [record for record in running.records if record["kind"] == "forward"]
        assert "Traceback" not in running.stderr
