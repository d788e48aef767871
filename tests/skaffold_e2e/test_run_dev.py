"""`portside run -- skaffold dev`: a save brings new bytes at the same port, and no connection fails."""

from __future__ import annotations

import pytest

from tests.skaffold_e2e.developing import all_ready, becomes, developing, idle, text_at, watching
from tests.support.probe import probing
from tests.support.skaffold import Project

pytestmark = pytest.mark.skaffold

# Five redeploys with --long; every run does one.
RUNS = pytest.mark.parametrize("run", [1, *(pytest.param(n, marks=pytest.mark.long) for n in (2, 3, 4, 5))])


@pytest.mark.every_bed("`skaffold dev`: a save brings new bytes at the same ports")
async def test_each_forward_leads_to_the_deployed_app(project: Project) -> None:
    """A user entry by port name and two services are ready and answer; a save brings new bytes at the same ports.

    On stdout there is nothing but JSON lines, and what Skaffold prints is on stderr.
    """
    async with developing(project) as running:
        before = await all_ready(running)
        assert {name: (r["source"], r["remotePort"], r["namespace"]) for name, r in before.items()} == {
            "app": ("user", "http", project.namespace),
            "web": ("services", 8080, project.namespace),
            "api": ("services", 80, project.namespace),
        }
        assert before["app"]["resourceType"] == "deployment"
        assert before["app"]["requestedPort"] == 9001
        assert before["app"]["url"] == f"http://127.0.0.1:{before['app']['localPort']}"
        assert before["app"]["podPort"] == 8080
        for record in before.values():
            assert await text_at(record) == f"hello from {project.namespace}, version 1\npod {record['pod']}\n"
        await watching(running)

        project.save(f"hello from {project.namespace}, version 2")
        await idle(running, 2)
        after = await all_ready(running)
        assert {r["localPort"] for r in after.values()} == {r["localPort"] for r in before.values()}
        for record in after.values():
            await becomes(record, f"hello from {project.namespace}, version 2\n")

        assert running.others == []
        assert {record["kind"] for record in running.records} == {"forward", "skaffold", "plan"}
        assert "Deployments stabilized" in running.stderr


@RUNS
async def test_no_connection_fails_during_a_redeploy(project: Project, run: int) -> None:
    """A connection every 20 ms while Skaffold builds and deploys: each gets its whole answer."""
    async with developing(project) as running:
        ports = {name: record["localPort"] for name, record in (await all_ready(running)).items()}
        await watching(running)
        async with probing(ports["app"]) as by_entry, probing(ports["web"]) as by_service:
            await by_entry.good(25)
            project.save(f"{project.namespace}, version 2 of run {run}")
            await idle(running, 2)
            await by_entry.good(25)
            await by_service.good(25)
        assert not by_entry.failures, by_entry.counts
        assert not by_service.failures, by_service.counts
