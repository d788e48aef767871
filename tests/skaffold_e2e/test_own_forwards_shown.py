"""`portside watch` beside a Skaffold that forwards by itself shows its forwards and does not compete with them."""

from __future__ import annotations

import pytest

from tests.skaffold_e2e.developing import text_at
from tests.skaffold_e2e.test_watch import watching
from tests.support.process import Record
from tests.support.skaffold import Project, skaffold
from tests.support.sockets import free_port

pytestmark = pytest.mark.skaffold


async def test_what_skaffold_holds_is_shown_as_its_own(project: Project) -> None:
    """A record with source `skaffold` for each; our entries are skipped with the reason; one line of advice."""
    port = free_port()
    async with skaffold(project, "dev", "--port-forward=user,services", f"--rpc-http-port={port}") as beside:
        await beside.idle()
        async with watching(project, port) as running:
            records = {name: await running.ready(name, source="skaffold") for name in ("app", "web", "api")}
            for record in records.values():
                assert f"-> http://127.0.0.1:{record['localPort']}" in beside.output
                assert (await text_at(record)).startswith(f"hello from {project.namespace}, version 1")
            await running.wait_for(lambda seen: len(skips(seen)) == 3)
            assert all("--port-forward=off" in record["reason"] for record in skips(running.records).values())
            assert not [r for r in running.records if r["kind"] == "forward" and r["source"] != "skaffold"]
            assert running.stderr.count("start it with --port-forward=off") == 1

            # A redeploy stops and starts Skaffold's forwards; portside does not take their ports meanwhile.
            project.save(f"hello from {project.namespace}, version 2")
            await beside.idle(2)
            assert (await text_at(await running.ready("web", source="skaffold"))).startswith(
                f"hello from {project.namespace}, version 2"
            )
            assert not [r for r in running.records if r["kind"] == "forward" and r["source"] != "skaffold"]

            await beside.end()
            await running.wait_for(lambda _: all(r["source"] != "skaffold" for r in running.forwards))
            assert await running.end() == 0


def skips(records: list[Record]) -> dict[str, Record]:
    return {record["id"]: record for record in records if record["kind"] == "skip"}
