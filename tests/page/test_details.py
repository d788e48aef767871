"""One forward in full: what is copied, a test, another try, its last changes, its traffic."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import trio
from playwright.sync_api import Page, expect

from fixtures.browser.chromium import PATIENCE, Chromium
from forwarders.spec import Counts
from tests.board.made import confirmed_at_once, forward
from tests.page.made import details, link, row
from tests.page.test_page import shown
from tests.status.test_actions import application, says_nothing
from watcher.board.board import Board

Press = Callable[[Page], None]
CLIPBOARD = {"permissions": ["clipboard-read", "clipboard-write"]}


@pytest.mark.parametrize(
    ("button", "copied"),
    [
        ("Copy the URL of", "http://127.0.0.1:4501"),
        ("Copy curl", "curl http://127.0.0.1:4501/"),
        ("Copy env line", "WEB_8080_URL=http://127.0.0.1:4501"),
    ],
)
async def test_what_is_copied(browser: Chromium, button: str, copied: str) -> None:
    """The text is in the clipboard, and a message confirms it."""
    board = Board()
    board.publish(link("web", 4501))
    async with shown(browser, board, **CLIPBOARD) as tab:

        def press(page: Page) -> None:
            more = details(page, "web")
            row(page, "web").or_(more).get_by_role("button", name=button).click()
            expect(page.get_by_role("status").first).to_have_text(f"copied {copied}")
            # A page that has no focus at this moment may not read; the next look is one that may.
            for _ in range(PATIENCE // 100):
                if page.evaluate("navigator.clipboard.readText().catch(() => '')") == copied:
                    return
                page.wait_for_timeout(100)
            raise AssertionError("the clipboard has another text")

        await tab.do(press)


async def test_a_test_and_its_answer(browser: Chromium) -> None:
    """portside itself connects; the result is below the buttons."""
    async with application(says_nothing) as record:
        board = Board(confirming=confirmed_at_once)
        board.publish(record)
        async with shown(browser, board) as tab:

            def press(page: Page) -> None:
                more = details(page, "web")
                more.get_by_role("button", name="Test").click()
                expect(more.locator("output")).to_contain_text("connected (")
                expect(more.get_by_role("button", name="Test")).to_be_focused()
                expect(more.get_by_role("button", name="Try again")).to_be_hidden()

            await tab.do(press)
            refused = "nothing listens on 8080 in pod web-6c: connection refused"
            counts = Counts(since=datetime.now(UTC), connections=1, held=1)
            board.counters = lambda: {record.id: counts}
            board.publish(
                forward(local_port=record.local_port, url=record.url, reason=f"{refused}; 1 connection waits")
            )

            def again(page: Page) -> None:
                more = details(page, "web")
                more.get_by_role("button", name="Test").click()
                expect(more.locator("output")).to_contain_text(refused)

            await tab.do(again)


async def test_another_try_and_what_changed(browser: Chromium) -> None:
    """A failed forward has a button for it; each change since is in its list, the newest first."""
    asked: list[str] = []

    def retry(ident: str) -> str:
        asked.append(ident)
        return "" if len(asked) > 1 else "it is failed; portside tries again by itself when something changes"

    board = Board(retry=retry)
    board.publish(link("web", 4501, 1))
    board.publish(link("web", 4501, 2, state="failed", reason="port 4501 is taken", url="", pod=""))
    async with shown(browser, board) as tab:

        def press(page: Page) -> None:
            more = details(page, "web")
            expect(more.get_by_role("button", name="Copy curl")).to_be_hidden()
            more.get_by_role("button", name="Try again").click()
            expect(more.locator("output")).to_contain_text("portside tries again by itself")
            more.get_by_role("button", name="Try again").click()
            expect(more.locator("output")).to_have_text("trying again")
            lines = more.get_by_role("listitem")
            expect(lines).to_have_count(2)
            expect(lines.first).to_contain_text("service/web has failed: port 4501 is taken")

        await tab.do(press)
        assert asked == [forward().id] * 2
        board.publish(link("web", 4501, 3))

        def ready(page: Page) -> None:
            expect(details(page, "web").get_by_role("listitem")).to_have_count(3)
            expect(details(page, "web").get_by_role("button", name="Copy curl")).to_be_visible()

        await tab.do(ready)


async def test_traffic_is_a_rate_and_a_plot(browser: Chromium) -> None:
    """Of what is carried while the page is open; a forward that carries nothing shows nothing."""
    sent = 0

    def counters() -> dict[str, Counts]:
        nonlocal sent
        sent += 5_000_000
        quiet = Counts(since=datetime.now(UTC), sent=10**9)
        return {link("web", 1).id: Counts(since=datetime.now(UTC), sent=sent), link("api", 1).id: quiet}

    board = Board(counters=counters)
    board.publish(link("web", 4501))
    board.publish(link("api", 4502))
    async with shown(browser, board) as tab:

        def look(page: Page) -> None:
            expect(row(page, "web")).to_contain_text("MB/s")
            expect(row(page, "web").locator("polyline[points*=',']")).to_have_count(1)
            expect(row(page, "api")).not_to_contain_text("B/s")
            expect(row(page, "api").locator("polyline[points*=',']")).to_have_count(0)

        await tab.do(look)
    await trio.lowlevel.checkpoint()
