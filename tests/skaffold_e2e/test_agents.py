"""`portside mcp` beside a real `skaffold dev`: an agent edits, waits, and reads what is served."""

from __future__ import annotations

import pytest

from tests.agents.client import agent
from tests.skaffold_e2e.developing import developing, forwarding, text_at
from tests.support.skaffold import Project

pytestmark = pytest.mark.skaffold


async def test_an_agent_edits(project: Project) -> None:
    """Each edit is served when the tool returns; a broken one is Skaffold's error; the changes of both are told."""
    check = "buildCommand: grep -q BROKEN content.txt && exit 3; python3"
    project.edit("skaffold.yaml", "buildCommand: python3", check)
    async with developing(project) as running, agent(project.environment, project.folder) as ours:
        await forwarding(running)
        [found] = (await ours.call("list_forwards"))["portsides"]
        assert {one["state"] for one in found["forwards"]} == {"ready"}
        for text in ("first edit", "second edit"):
            project.save(text)
            saved = await ours.call("wait_until_saved_is_served")
            assert saved["served"], saved
            answer = await ours.call("test_forward", name="svc/web", path="/")
            assert (answer["ok"], answer["answer"].split()[1]) == (True, "200")
            found = running.last("web")
            assert found is not None
            assert text in await text_at(found)
        project.save("BROKEN")
        saved = await ours.call("wait_until_saved_is_served")
        assert not saved["served"]
        assert "exit status 3" in saved["problems"][0]
        changes = (await ours.call("recent_changes", count=200))["changes"]
        assert any(change["kind"] == "skaffold" and change["failed"] for change in changes)
        assert (await ours.call("wait_until_ready"))["ready"]
