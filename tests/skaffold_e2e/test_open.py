"""`open: /path` under a real `skaffold dev`: the browser opens once, and not again after a redeploy."""

from __future__ import annotations

import pytest

from tests.skaffold_e2e.developing import all_ready, developing, idle, watching
from tests.support.browser import FakeBrowser
from tests.support.skaffold import Project

pytestmark = pytest.mark.skaffold

PORTSIDE_YAML = """\
apiVersion: portside/v1
forwards:
- {resourceType: service, resourceName: web, namespace: %s, port: 8080, open: /start}
"""


async def test_once_in_a_whole_loop(project: Project) -> None:
    """The page is opened when its forward is first ready; a save changes what it shows, and opens nothing."""
    browser = FakeBrowser(project.folder, project.environment)
    (project.folder / "portside.yaml").write_text(PORTSIDE_YAML % project.namespace)
    async with developing(project) as running:
        page = await browser.next()
        forward = await running.ready("web", source="direct")
        assert page == f"{forward['url']}/start"
        await all_ready(running)
        await watching(running)
        project.save(f"hello from {project.namespace}, version 2")
        await idle(running, 2)
        await all_ready(running)
        await running.end()
    assert browser.all == [page]
