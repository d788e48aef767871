"""`portside watch` first, then a plain `skaffold dev` that forwards its entries: the port is served all the time."""

from __future__ import annotations

import pytest

from tests.skaffold_e2e.developing import becomes, text_at
from tests.skaffold_e2e.test_watch import watching
from tests.support.skaffold import Project, skaffold
from tests.support.sockets import free_port

pytestmark = pytest.mark.skaffold


async def test_the_port_that_portside_holds_stays_with_it(project: Project) -> None:
    """Skaffold finds localPort taken and takes the next one. A restarted portside has the port again."""
    port, local = free_port(), free_port()
    project.edit("skaffold.yaml", "localPort: 9001", f"localPort: {local}")
    async with watching(project, port) as running:
        await running.says("waiting for one")
        async with skaffold(project, "dev", f"--rpc-http-port={port}") as beside:
            await beside.idle()
            theirs = await running.ready("app", 90, source="skaffold")
            ours = await running.ready("app", 90, source="user")
            assert (ours["localPort"], theirs["localPort"]) != (theirs["localPort"], local)
            for record in (ours, theirs):
                assert (await text_at(record)).startswith(f"hello from {project.namespace}, version 1")
            project.save(f"hello from {project.namespace}, version 2")
            await beside.idle(2)
            await becomes(ours, f"hello from {project.namespace}, version 2")
            assert (running.last("app", source="user") or {})["state"] == "ready"
            assert await running.end() == 0
            async with watching(project, port) as again:
                assert (await again.ready("app", 90, source="user"))["localPort"] == local
