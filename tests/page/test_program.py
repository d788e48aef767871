"""The page of a portside that runs: what Skaffold does, what is forwarded, where the links lead."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from playwright.sync_api import Page, expect

from fixtures.browser.chromium import Chromium
from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.pods import Port
from fixtures.embedded.skaffold_api import Recording, SkaffoldApi
from fixtures.embedded.web import web
from tests.cli.made import Place
from tests.page.made import follow, shows
from tests.support.process import portside

NAMESPACE = "parity"  # the recorded run's


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_from_skaffolds_deploy_to_the_next_pod(place: Place, browser: Chromium) -> None:
    """The phase, the forward, its link, why it is there; then the pod that took over, through the same link."""
    recording, _ = Recording.load("handle-post").split("DevLoop", "Succeeded")
    labels = {"skaffold.dev/run-id": recording.run_id}
    async with EmbeddedCluster.open() as cluster, SkaffoldApi.open(recording) as skaffold:
        app = await cluster.deployment(
            "app", [Port(8080, web("version 1"), "http")], namespace=NAMESPACE, labels=labels
        )
        ports = [{"port": 8080, "targetPort": "http"}, {"port": 53, "protocol": "UDP", "name": "dns"}]
        cluster.service("web", {"app": "app"}, ports, namespace=NAMESPACE, labels=labels)
        config = cluster.kubeconfig(place.folder / "embedded", namespace=NAMESPACE)
        command = ("watch", "--skaffold", skaffold.url, "--port-forward=services", f"--kubeconfig={config}")
        async with portside(*command, environment=place.environment, folder=place.folder) as program:
            before = await program.ready("web")
            url = (await trio.to_thread.run_sync(place.portside, "status", "--url")).stdout.strip()
            async with browser.tab(f"{url}/") as tab:
                await tab.do(shows, "web", "ready", before["url"].removeprefix("http://"), before["pod"])

                def look(page: Page) -> None:
                    expect(page.locator("#skaffold")).to_have_text("Skaffold: idle, iteration 1")
                    expect(page.locator("#skips")).to_contain_text("UDP")
                    page.locator("summary").click()
                    verdicts = page.locator("#why-rows tr")
                    expect(verdicts.filter(has_text="yes")).to_contain_text("service/web")

                await tab.do(look)
                assert "version 1" in await tab.do(follow, "web")
                await tab.do(shows, "web", " open")
                await app.rollout([Port(8080, web("version 2"), "http")])
                (pod,) = app.pods
                await tab.do(shows, "web", "ready", pod.name, before["url"].removeprefix("http://"))
                assert "version 2" in await tab.do(follow, "web")
                assert tab.complaints == []
                assert await program.end() == 0
                await tab.do(lambda page: expect(page.get_by_role("alert")).to_contain_text("does not answer"))
