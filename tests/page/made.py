"""Owns what a test of the page looks at: a board with something of everything, and the words to find it by."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.sync_api import Locator, Page, expect

from fixtures.browser.chromium import PATIENCE
from forwarders.spec import Counts
from tests.board.made import forward, skaffold, skip
from watcher.board.board import Board
from watcher.board.records import ExplainRecord, ForwardRecord, timestamp

# A busy machine is slow; playwright's own limit is five seconds.
expect.set_options(timeout=PATIENCE)

START = datetime.now(UTC) - timedelta(hours=3)


def at(seconds: float) -> str:
    """A moment after START as records write it."""
    return timestamp(START + timedelta(seconds=seconds))


def link(name: str, port: int, seconds: float = 0, **fields: Any) -> ForwardRecord:
    """A ready forward of service `name` at 127.0.0.1:`port`."""
    address: dict[str, Any] = {"local_port": port, "url": f"http://127.0.0.1:{port}", "time": at(seconds)}
    return forward(name, **address | fields)


def busy_board() -> Board:
    """Three forwards (ready, listening, failed), a skip, Skaffold at work, a verdict for each."""
    board = Board()
    board.publish(skaffold(change="attached", phase="", time=at(0)))
    board.publish(skaffold(change="phase", phase="deploying", iteration=3, time=at(9)))
    board.publish(link("web", 4501, 1))
    board.publish(link("api", 4502, 2, state="listening", reason="api-1 is Running but not Ready", pod=""))
    failed = {"state": "failed", "reason": "port 6379 on 127.0.0.1 is taken", "url": "", "pod": "", "local_port": 0}
    board.publish(link("cache", 4503, 3, **failed))
    board.publish(skip(time=at(4)))
    counts = Counts(
        since=START, connections=2, connections_total=41, held=1, sent=1_234, received=5_678_901, errors=1,
        last_error="error forwarding: reset by peer", last_error_at=START,
    )  # fmt: skip
    board.counters = lambda: {forward("web").id: counts, forward("api").id: Counts(since=START)}
    board.explain = told(verdict("web", forwarded=True), verdict("dns", forwarded=False))
    return board


def told(*verdicts: ExplainRecord) -> Callable[[], Awaitable[list[ExplainRecord]]]:
    """An `explain` for a board."""

    async def explained() -> list[ExplainRecord]:
        return list(verdicts)

    return explained


def verdict(name: str, *, forwarded: bool, rule: str = "") -> ExplainRecord:
    return ExplainRecord(
        source="services",
        resource_type="service",
        resource_name=name,
        namespace="default",
        container="",
        remote_port=80,
        protocol="TCP",
        origin="skaffold.yaml: portForward[0]",
        forwarded=forwarded,
        rule=rule or ("mode services: a port of this run" if forwarded else "UDP is not forwarded"),
        reason="no pod is ready" if forwarded else "",
        forwards=(),
    )


def row(page: Page, name: str) -> Locator:
    """The row of a service or workload `name` among the forwards."""
    table = page.get_by_role("table", name="Forwards")
    return table.get_by_role("row").filter(has=page.locator("strong").get_by_text(re.compile(rf"/{name}$")))


def details(page: Page, name: str) -> Locator:
    """What is shown below the row, opened if it is not."""
    button = row(page, name).get_by_role("button", name="Details of")
    if button.get_attribute("aria-expanded") == "false":
        button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    return row(page, name).locator("xpath=following-sibling::tr[1]")


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until this has the focus: nothing on the way holds it."""
    for _ in range(30):
        page.keyboard.press("Tab")
        if wanted.evaluate("(element) => element === document.activeElement"):
            return
    raise AssertionError(f"Tab never leads to {wanted}")


def follow(page: Page, name: str) -> str:
    """The text of the page that the link of service or workload `name` opens."""
    with page.expect_popup() as popup:
        row(page, name).get_by_role("link").click()
    try:
        return popup.value.inner_text("body")
    finally:
        popup.value.close()


def shows(page: Page, name: str, *texts: str) -> None:
    """Waits until the row contains all these texts."""
    for text in texts:
        expect(row(page, name)).to_contain_text(text)
