"""The page with one, forty and three hundred forwards: one line each, found by filter, trouble first."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from fixtures.browser.chromium import Chromium
from tests.board.made import skip
from tests.page.made import at, link, row, tab_to
from tests.page.test_page import shown
from watcher.board.board import Board
from watcher.board.runtime_files import About

ABOUT = About(pid=1, url="http://127.0.0.1:1", command="run", folder="/src/shop", context="here", namespace="default")
LONG = "notification-dispatcher-for-the-whole-shop"
# Each element of the forwards whose text is wider than its place, and shows no ellipsis for it.
TORN = """() => [...document.querySelectorAll("#forward-rows td, #forward-rows th")]
  .filter((e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).textOverflow !== "ellipsis")
  .map((e) => e.textContent)"""
# The buttons that their cell cuts off.
CLIPPED = """() => [...document.querySelectorAll("#forward-rows button:not([hidden])")]
  .filter((b) => b.getBoundingClientRect().right > b.parentElement.getBoundingClientRect().right + 1)
  .map((b) => b.getAttribute("aria-label"))"""


def board_of(count: int, **waiting: str) -> Board:
    """`waiting`: the reasons of forwards that are listening."""
    board = Board(ABOUT)
    for number in range(count):
        name = f"{LONG}-{number}" if number % 10 == 9 else f"web-{number}"
        board.publish(link(name, 4000 + number, number, id=f"{number}", pod=f"{name}-6c8d9f7b5d-x2x4z"))
    for number, (name, reason) in enumerate(waiting.items()):
        board.publish(link(name, 5000 + number, number, id=name, state="listening", reason=reason, pod=""))
    return board


@pytest.mark.parametrize("count", [1, 40, 300])
@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_one_line_each(browser: Chromium, count: int, width: int, scheme: str) -> None:
    """A line of a table, or a small card; nothing is cut inside a word without saying so, and nothing scrolls aside."""
    settings: dict[str, Any] = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    async with shown(browser, board_of(count), **settings) as tab:

        def look(page: Page) -> None:
            rows = page.locator("#forward-rows tr")
            expect(rows).to_have_count(count)
            expect(page.locator("#summary")).to_have_text(f"{count} of {count} ready")
            heights = page.evaluate("[...document.querySelectorAll('#forward-rows tr')].map((e) => e.clientHeight)")
            assert max(heights) < (45 if width == 1280 else 200)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(TORN) == []
            assert page.evaluate(CLIPPED) == []

        await tab.do(look)


async def test_what_is_not_ready_comes_first_and_alone(browser: Chromium) -> None:
    """Its reason whole on a line of its own; a button hides all others, and goes when all are ready."""
    reason = "pod api-6c8d9f7b5d-x2x4z is Running but not Ready: its readiness probe answers HTTP 503 at /healthz"
    board = board_of(40, api=reason)
    async with shown(browser, board, viewport={"width": 1280, "height": 800}) as tab:

        def look(page: Page) -> None:
            first = page.locator("#forward-rows tr").first
            expect(first).to_contain_text("service/api")
            box = first.get_by_text(reason).bounding_box()
            assert box is not None
            assert box["height"] < 30
            page.get_by_role("button", name="Not ready (1)").click()
            expect(page.locator("#forward-rows tr:visible")).to_have_count(1)

        await tab.do(look)
        board.publish(link("api", 5000, 90, id="api"))

        def all_ready(page: Page) -> None:
            expect(page.get_by_text("No forward matches.")).to_be_visible()
            page.get_by_role("button", name="All").click()
            expect(page.locator("#forward-rows tr:visible")).to_have_count(41)
            expect(page.locator("#troubled")).to_be_hidden()

        await tab.do(all_ready)


async def test_the_filter_by_keyboard_alone(browser: Chromium) -> None:
    """`/` focuses the filter, Escape clears it; a `/` that is typed into a field is text."""
    async with shown(browser, board_of(40)) as tab:

        def press(page: Page) -> None:
            visible = page.locator("#forward-rows tr:visible")
            expect(visible).to_have_count(40)
            page.keyboard.press("/")
            expect(page.get_by_label("Filter the forwards")).to_be_focused()
            page.keyboard.type("WEB-1")
            expect(visible.first).to_contain_text("web-1")
            expect(visible).to_have_count(10)
            page.keyboard.type("/")
            expect(page.get_by_text("No forward matches.")).to_be_visible()
            page.keyboard.press("Escape")
            expect(visible).to_have_count(40)
            tab_to(page, row(page, "web-0").get_by_role("button", name="Details of service/web-0"))
            page.keyboard.press("Enter")
            expect(page.get_by_role("button", name="Copy curl")).to_be_visible()
            page.keyboard.press("Enter")
            expect(page.get_by_role("button", name="Copy curl")).to_have_count(0)

        await tab.do(press)


async def test_skips_are_grouped_by_reason(browser: Chromium) -> None:
    """Each reason once, with how many and which."""
    board = Board(ABOUT)
    for number in range(6):
        board.publish(skip(f"s{number}", reason="it is UDP" if number % 2 else "line 4 excludes it", time=at(number)))
    async with shown(browser, board) as tab:

        def look(page: Page) -> None:
            groups = page.locator("#skips li")
            expect(groups).to_have_count(2)
            expect(groups.nth(0)).to_have_text(re.compile("^3: it is UDPservice/s1 .*, service/s3 .*, service/s5 "))
            expect(groups.nth(1)).to_have_text(re.compile("^3: line 4 excludes it"))

        await tab.do(look)
