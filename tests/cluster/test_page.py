"""The page beside the real cluster: the forward, its link, and the pod that takes over."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from playwright.sync_api import Page, expect

from fixtures.browser.chromium import Chromium
from fixtures.cluster.bed import Bed
from tests.cli.made import closed_port
from tests.page.made import follow, row, shows
from tests.support.objects import apply, deployment, rolled_out
from tests.support.process import portside

pytestmark = pytest.mark.cluster


async def test_a_pod_that_is_replaced(bed: Bed, space: str, browser: Chromium) -> None:
    """Seen on the page without a reload; the same link leads to the new pod."""
    apply(bed, space, deployment("web"))
    rolled_out(bed, space, "web")
    status = f"127.0.0.1:{closed_port()}"
    words = ("forward", "-n", space, f"--status={status}", "deploy/web", ":8080")
    async with portside(*words, environment=bed.environment()) as running:
        before = await running.ready("web")
        async with browser.tab(f"http://{status}/") as tab:
            await tab.do(shows, "web", "ready", before["pod"], before["url"].removeprefix("http://"))
            assert await tab.do(follow, "web")
            delete = partial(bed.kubectl, "-n", space, "delete", "pod", before["pod"], "--wait=false", timeout=90)
            await trio.to_thread.run_sync(delete)
            await tab.do(another_pod, before["pod"])
            await tab.do(shows, "web", "ready", before["url"].removeprefix("http://"))
            assert await tab.do(follow, "web")
            assert tab.complaints == []


def another_pod(page: Page, pod: str) -> None:
    expect(row(page, "web")).not_to_contain_text(pod)
    expect(page.locator("#changes")).to_contain_text("served by")
