"""The page in a real Chromium: display, keyboard, screen readers, and security."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect

from fixtures.browser.chromium import Chromium, Tab
from forwarders.spec import Counts
from tests.board.made import forward, skaffold, skip, subscriptions
from tests.page.made import at, busy_board, details, link, row, tab_to, told, verdict
from tests.status.made import port_of, served
from tests.support.process import slowness
from watcher.board.addresses import Address
from watcher.board.board import Board
from watcher.board.http.routes import PAGE_FILES
from watcher.board.runtime_files import About

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@asynccontextmanager
async def shown(browser: Chromium, board: Board, **settings: object) -> AsyncIterator[Tab]:
    """The page over `board`; at the end it has made no request elsewhere and logged no error."""
    async with served(board) as client:
        home = str(client.base_url)
        async with browser.tab(f"{home}/", **settings) as tab:
            yield tab
            assert tab.complaints == []
            assert [url for url in tab.requests if not url.startswith(f"{home}/")] == []


def text_of(page: Page, name: str) -> list[str]:
    """The cells of a forward's row, as text."""
    return [" ".join(cell.split()) for cell in row(page, name).locator("th,td").all_inner_texts()]


async def test_what_stands_is_shown(browser: Chromium) -> None:
    """Forwards with state, address, pod, connections and age, and all else on request; what is skipped; Skaffold."""
    async with shown(browser, busy_board()) as tab:

        def look(page: Page) -> None:
            expect(row(page, "cache")).to_contain_text("failed")
            web = text_of(page, "web")
            assert web[:4] == ["ready", "service/web:8080 in default", "127.0.0.1:4501", "web-6c:8080"]
            assert web[5:] == ["2 open, 1 waiting", "3 h", "", ""]
            more = details(page, "web").inner_text().split("Last changes")
            facts = " ".join(more[0].split())
            assert facts.startswith("sent 1.23 kB received 5.68 MB connections in all 41 errors 1 last error error")
            assert "reset by peer (" in facts
            assert "api-1 is Running but not Ready" in text_of(page, "api")[8]
            expect(row(page, "cache").get_by_role("link")).to_have_count(0)
            assert text_of(page, "cache")[2:8] == [""] * 6
            expect(page.get_by_text("1 of 3 ready")).to_be_visible()
            expect(page).to_have_title("1/3 portside")
            expect(page.locator("#skaffold")).to_have_text("Skaffold: deploying, iteration 3")
            expect(page.get_by_role("region", name="Not forwarded")).to_contain_text("port 53 is UDP")
            changes = page.get_by_role("region", name="What changed last").get_by_role("listitem")
            expect(changes.first).to_contain_text("Skaffold: deploying")
            expect(changes.nth(1)).to_contain_text("service/dns is not forwarded")

        await tab.do(look)


async def test_nothing_at_all(browser: Chromium) -> None:
    """Without forwards and Skaffold the page says so instead of showing empty frames."""
    async with shown(browser, Board()) as tab:

        def look(page: Page) -> None:
            expect(page.get_by_text("Nothing is forwarded yet.")).to_be_visible()
            expect(page.get_by_text("Nothing is left out.")).to_be_visible()
            expect(page.locator("#skaffold")).to_be_hidden()
            expect(page.get_by_role("alert")).to_be_hidden()

        await tab.do(look)


async def test_which_portside_it_is(browser: Chromium) -> None:
    """Command, process, folder, context and namespace, as in every other output, as text."""
    about = About(
        pid=42, url="http://127.0.0.1:1", command="watch", folder="/home/ada/shop", context=HOSTILE, namespace="default"
    )
    async with shown(browser, Board(about)) as tab:
        text = f"shop context {HOSTILE}, namespace default portside watch (pid 42)"
        await tab.do(lambda page: expect(page.locator("#about")).to_have_text(text))
        await tab.do(lambda page: expect(page.locator("#project")).to_have_attribute("title", "/home/ada/shop"))


async def test_a_change_is_seen_within_a_second(browser: Chromium) -> None:
    """As a rule, on whatever machine: half of nine changes at least; a slow machine has its own seconds."""
    board = busy_board()
    async with shown(browser, board) as tab:
        await tab.do(lambda page: expect(row(page, "web")).to_contain_text("ready"))
        taken = []

        def see(page: Page, state: str) -> None:
            expect(row(page, "web").locator(".pill")).to_have_text(state)

        for number in range(9):
            state = "ready" if number % 2 else "listening"
            started = time.monotonic()
            board.publish(link("web", 4501, 20 + number, state=state))
            await tab.do(see, state)
            taken.append(time.monotonic() - started)
        assert statistics.median(taken) < await slowness()


async def test_forwards_and_skips_come_and_go(browser: Chromium) -> None:
    """One row for each current forward, in a stable order; the list of changes has each change."""
    board = busy_board()
    async with shown(browser, board) as tab:
        await tab.do(lambda page: expect(row(page, "web")).to_be_visible())
        board.publish(link("web", 4501, 30, state="stopped", url=""))
        board.publish(link("aaa", 4509, 31))
        board.publish(skip(time=at(32), over=True))

        def look(page: Page) -> None:
            expect(row(page, "web")).to_have_count(0)
            names = page.locator("#forward-rows strong")
            expect(names).to_have_text(["service/cache", "service/api", "service/aaa"])
            expect(page.locator("#skips")).to_have_text("Nothing is left out.")
            expect(page.locator("#changes li").first).to_contain_text("service/aaa is ready")
            expect(page.locator("#changes li").nth(1)).to_contain_text("service/web has stopped")

        await tab.do(look)


async def test_a_forward_that_becomes_a_skip_leaves_the_forwards(browser: Chromium) -> None:
    """After portside.yaml excludes it, its row is gone, and the list of changes has both records."""
    board = busy_board()
    async with shown(browser, board) as tab:
        await tab.do(lambda page: expect(row(page, "web")).to_contain_text("ready"))
        reason = "portside.yaml line 2 excludes it"
        board.publish(skip("web", id=link("web", 4501).id, remote_port=8080, reason=reason, time=at(30)))

        def look(page: Page) -> None:
            expect(page.locator("#skips")).to_contain_text(reason)
            expect(row(page, "web")).to_have_count(0)
            expect(page.get_by_text("0 of 2 ready")).to_be_visible()
            said = page.locator("#changes").inner_text()
            assert "service/web has stopped" in said
            assert f"service/web is not forwarded: {reason}" in said

        await tab.do(look)


async def test_a_link_opens_in_a_tab_of_its_own(browser: Chromium) -> None:
    """The page stays, and what was opened cannot reach it."""
    board = busy_board()
    async with served(Board()) as other, shown(browser, board) as tab:
        port = other.base_url.port or 0
        board.publish(link("web", port, 20))

        def follow(page: Page) -> tuple[str, bool]:
            with page.expect_popup() as popup:
                page.get_by_role("link", name=f"127.0.0.1:{port}").click()
            popup.value.wait_for_load_state()
            opened = popup.value.url, popup.value.evaluate("window.opener === null && document.referrer === ''")
            popup.value.close()
            return opened

        assert await tab.do(follow) == (f"http://127.0.0.1:{port}/", True)
        # What the opened page loads is its own affair.
        tab.requests[:] = [url for url in tab.requests if f":{port}" not in url]


async def test_what_a_cluster_says_is_text(browser: Chromium) -> None:
    """Names, reasons and errors are never markup; only addresses of portside's own form are links."""
    board = Board()
    for number, url in enumerate(("javascript:alert(3)", "https://evil.example:1/x", "http://a@b:1", HOSTILE)):
        board.publish(forward(f"{number}{HOSTILE}", reason=HOSTILE, pod=HOSTILE, namespace=HOSTILE, url=url))
    board.publish(skip(HOSTILE, reason=HOSTILE))
    board.publish(skaffold(phase=HOSTILE))
    board.explain = told(verdict(HOSTILE, forwarded=False, rule=HOSTILE))
    counts = Counts(since=datetime.now(UTC), last_error=HOSTILE, last_error_at=datetime.now(UTC))
    board.counters = lambda: dict.fromkeys(board.forwards, counts)
    async with shown(browser, board) as tab:

        def look(page: Page) -> None:
            dialogs: list[str] = []
            page.on("dialog", lambda dialog: dialogs.append(dialog.message))
            page.locator("summary").click()
            expect(page.locator("#why-rows")).to_contain_text(HOSTILE)
            expect(page.locator("#forward-rows tr")).to_have_count(4)
            assert page.locator("main a[href]").count() == 0
            assert page.locator("main img, main script").count() == 0
            for more in page.get_by_role("button", name="Details of service/").all():
                more.click()
            expect(page.locator("#forward-rows tr.details ol li")).to_have_count(4)
            assert page.locator("main a[href]").count() == 0
            assert page.locator("main img, main script").count() == 0
            text = page.locator("#forward-rows").inner_text()
            assert text.count(HOSTILE) == 4 * (4 + 4) + 1
            assert dialogs == []

        await tab.do(look)


async def test_the_policy_holds(browser: Chromium) -> None:
    """The policy refuses injected scripts, loads from elsewhere, and requests to elsewhere."""
    board = busy_board()
    async with served(board) as client, served(Board()) as elsewhere, browser.tab(f"{client.base_url}/") as tab:
        other = str(elsewhere.base_url)

        def attempt(page: Page, script: str) -> object:
            return page.evaluate(script, other)

        for script in (
            "url => fetch(url + '/healthz', { mode: 'no-cors' }).then(() => 'loaded', () => 'refused')",
            "url => new Promise(r => { const i = new Image(); i.onload = () => r('loaded');"
            " i.onerror = () => r('refused'); i.src = url + '/icon.svg'; })",
            "() => { const s = document.createElement('script'); s.append('window.ran = 1'); document.head.append(s);"
            " return window.ran ? 'loaded' : 'refused'; }",
            "() => { try { document.body.innerHTML = '<b>x</b>'; return 'loaded'; } catch { return 'refused'; } }",
            "url => new Promise(r => { const f = document.createElement('iframe'); f.src = url;"
            " addEventListener('securitypolicyviolation', () => r('refused'), { once: true });"
            " document.body.append(f); })",
        ):
            before = len(tab.complaints)
            assert await tab.do(attempt, script) == "refused", script
            assert len(tab.complaints) > before or "innerHTML" in script


async def test_other_sites_pages_get_nothing(browser: Chromium) -> None:
    """A forwarded application on another port of this host can neither read the status nor frame the page."""
    board = busy_board()
    async with (
        served(board) as client,
        served(Board()) as elsewhere,
        browser.tab(f"{elsewhere.base_url}/healthz", bypass_csp=True) as tab,
    ):

        def read(page: Page, path: str) -> object:
            return page.evaluate("url => fetch(url).then(() => 'read', () => 'refused')", f"{client.base_url}{path}")

        def frame(page: Page) -> None:
            page.evaluate(FRAME, f"{client.base_url}/")

        for path in ("/v1/forwards", "/v1/events", "/"):
            assert await tab.do(read, path) == "refused"
        assert subscriptions(board) == 0
        await tab.do(frame)
        assert "frame-ancestors" in tab.complaints[-1]


FRAME = """url => new Promise((loaded) => {
  const frame = document.createElement("iframe");
  frame.onload = loaded;
  frame.src = url;
  document.body.append(frame);
})"""


async def test_by_keyboard_alone(browser: Chromium) -> None:
    """Tab reaches each control in order, visibly; Enter opens the rules; a change does not move the focus."""
    board = busy_board()
    async with shown(browser, board) as tab:

        def press(page: Page) -> None:
            expect(row(page, "web")).to_be_visible()
            page.keyboard.press("Tab")
            expect(page.get_by_role("link", name="To the forwards")).to_be_focused()
            expect(page.get_by_role("link", name="To the forwards")).to_be_in_viewport()
            page.keyboard.press("Enter")
            expect(page.get_by_role("region", name="Forwards")).to_be_focused()
            tab_to(page, page.get_by_label("Filter the forwards"))
            for name, port in (("api", 4502), ("web", 4501)):
                tab_to(page, page.get_by_role("link", name=f"127.0.0.1:{port}"))
                if name == "api":
                    tab_to(page, page.get_by_role("button", name=f"Copy the URL of service/{name}"))
                    tab_to(page, page.get_by_role("button", name=f"Details of service/{name}"))
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid"

        await tab.do(press)
        board.publish(link("web", 4501, 20, state="listening", reason="no pod"))
        board.publish(link("aaa", 4509, 21))

        def go_on(page: Page) -> None:
            expect(row(page, "aaa")).to_be_visible()
            expect(page.get_by_role("link", name="127.0.0.1:4501")).to_be_focused()
            tab_to(page, page.locator("summary"))
            page.keyboard.press("Enter")
            expect(page.get_by_role("table", name="Why")).to_be_visible()
            page.keyboard.press("Tab")
            page.keyboard.type("udp")
            rows = page.locator("#why-rows tr")
            expect(rows).to_have_count(1)
            expect(rows).to_contain_text("service/dns")

        await tab.do(go_on)


async def test_by_ear(browser: Chromium) -> None:
    """Landmarks, headings, headers of rows and columns; changes are announced politely, what stood before is not."""
    board = busy_board()
    async with shown(browser, board) as tab:

        def look(page: Page) -> None:
            page.clock.install()
            page.reload()
            expect(row(page, "web")).to_be_visible()
            for landmark in ("banner", "main", "contentinfo"):
                expect(page.get_by_role(landmark)).to_be_visible()
            headings = page.get_by_role("heading").all_inner_texts()
            assert headings[:4] == ["portside", "Forwards", "What changed last", "Not forwarded"]
            columns = page.get_by_role("table", name="Forwards").get_by_role("columnheader").all_inner_texts()
            seen = ["State", "Resource", "Address", "Pod", "Traffic", "Connections", "Age"]
            assert columns == [*seen, "Details", "Reason"]
            status = page.get_by_role("status")
            assert status.get_attribute("aria-live") == "polite"
            assert status.inner_text() == ""
            page.clock.fast_forward(1000)

        await tab.do(look)
        board.publish(link("api", 4502, 20))
        await tab.do(
            lambda page: expect(page.get_by_role("status")).to_have_text("service/api is ready, served by web-6c")
        )


async def test_counters_move_without_a_change(browser: Chromium) -> None:
    """Bytes and connections follow; nothing is announced for them, and nothing counts as a change."""
    board = Board()
    board.publish(link("web", 4501, 1))
    counts = {forward("web").id: Counts(since=datetime.now(UTC))}
    board.counters = lambda: counts
    async with shown(browser, board) as tab:
        await tab.do(lambda page: expect(row(page, "web")).to_contain_text("0 open"))
        counts[forward("web").id] = Counts(since=datetime.now(UTC), connections=3, connections_total=9, sent=2_000_000)

        def look(page: Page) -> None:
            expect(row(page, "web")).to_contain_text("3 open")
            expect(details(page, "web")).to_contain_text("2.00 MB")
            assert page.locator("#announce").inner_text() == ""
            expect(page.locator("#changes li")).to_have_count(1)

        await tab.do(look)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_words_stand_out_in_light_and_dark(browser: Chromium, scheme: str) -> None:
    """WCAG AA, 4.5 to 1, for every text on what is behind it."""
    async with shown(browser, busy_board(), color_scheme=scheme) as tab:

        def look(page: Page) -> None:
            page.locator("summary").click()
            expect(page.locator("#why-rows tr")).to_have_count(2)
            more = details(page, "web")
            expect(more.get_by_role("listitem")).to_have_count(1)
            page.get_by_role("button", name="Not ready").click()
            page.get_by_role("button", name="Not ready").click()
            back = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(_rgb(back)) > 384) == (scheme == "light")
            texts = page.evaluate(TEXTS)
            assert len(texts) > 40
            for text, front, behind in texts:
                assert _contrast(_rgb(front), _rgb(behind)) >= 4.5, (text, front, behind)

        await tab.do(look)


# Each element with text of its own, its colour, and the nearest background that is not transparent.
TEXTS = """() => [...document.querySelectorAll("body *")]
  .filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
  .map((e) => {
    let behind = e;
    while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
    return [e.textContent, getComputedStyle(e).color, getComputedStyle(behind).backgroundColor];
  })"""


def _rgb(text: str) -> tuple[int, int, int]:
    red, green, blue = text.removeprefix("rgb(").removesuffix(")").split(", ")
    return int(red), int(green), int(blue)


def _contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    def luminance(colour: tuple[int, int, int]) -> float:
        parts = [c / 255 for c in colour]
        red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("width", [320, 390, 961, 1280])
async def test_on_any_screen(browser: Chromium, width: int) -> None:
    """Nothing is cut off or needs scrolling sideways, and a table is still one to a screen reader."""
    board = busy_board()
    board.publish(
        link("a-service-with-a-rather-long-name-of-63-characters-as-kubernetes-allows", 4509, 5, pod="x" * 63)
    )
    async with shown(browser, board, viewport={"width": width, "height": 700}) as tab:

        def look(page: Page) -> None:
            expect(row(page, "web")).to_contain_text("ready")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            more = details(page, "web")
            expect(more).to_contain_text("5.68 MB")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            button = row(page, "web").get_by_role("button", name="Details of").bounding_box()
            assert button is not None
            assert button["x"] + button["width"] <= width
            for part in ("127.0.0.1:4501", "web-6c:8080", "3 h", "2 open", "5.68 MB", "reset by peer"):
                found = row(page, "web").or_(more).get_by_text(part)
                box = found.first.bounding_box()
                assert box is not None
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= width

        await tab.do(look)


async def test_portside_ends_and_comes_back(browser: Chromium) -> None:
    """The page reports the loss, keeps the last state, and reconnects by itself."""
    second = Board()
    second.publish(link("web", 4501, 40))
    async with browser.tab() as tab:
        async with served(busy_board()) as client:
            port = port_of(client)
            await tab.do(lambda page: page.goto(f"{client.base_url}/"))
            await tab.do(lambda page: expect(row(page, "cache")).to_be_visible())

        def alone(page: Page) -> None:
            expect(page.get_by_role("alert")).to_contain_text("does not answer")
            expect(row(page, "cache")).to_be_visible()

        def again(page: Page) -> None:
            expect(row(page, "cache")).to_have_count(0)
            expect(row(page, "web")).to_be_visible()
            expect(page.get_by_role("alert")).to_be_hidden()

        await tab.do(alone)
        async with served(second, Address("127.0.0.1", port)):
            await tab.do(again)


async def test_with_a_token(browser: Chromium) -> None:
    """Refused, then let in by the link: the token leaves the address bar, and no script sees the cookie."""
    board, token = busy_board(), "a-token-that-nobody-guesses"
    async with served(board, token=token) as client, browser.tab(f"{client.base_url}/") as tab:
        home = str(client.base_url)
        assert "needs its token" in await tab.do(lambda page: page.inner_text("body"))

        def enter(page: Page) -> tuple[str, str]:
            page.goto(f"{home}/?token={token}")
            expect(row(page, "web")).to_contain_text("ready")
            return page.url, page.evaluate("document.cookie")

        assert await tab.do(enter) == (f"{home}/", "")


def test_every_file_of_the_page_is_ours_and_small() -> None:
    """No build step, nothing minified, one screenful of bytes."""
    from importlib.resources import files  # noqa: PLC0415 - here alone

    sizes = [len(files("watcher.board.http").joinpath("page", name).read_bytes()) for name, _ in PAGE_FILES.values()]
    assert sum(sizes) < 40_000


async def test_a_name_is_a_second_link(browser: Chromium) -> None:
    """A gateway URL is a second link; any other text is not a link."""
    board = Board()
    board.publish(link("web", 4501, gateway="http://web.localhost:8000"))
    board.publish(link("api", 4502, gateway=f"javascript:alert(1)//{HOSTILE}"))
    async with shown(browser, board) as tab:

        def look(page: Page) -> None:
            links = row(page, "web").get_by_role("link")
            expect(links).to_have_text(["127.0.0.1:4501", "web.localhost:8000"])
            expect(links.nth(1)).to_have_attribute("href", "http://web.localhost:8000/")
            expect(row(page, "api").get_by_role("link")).to_have_count(1)
            expect(row(page, "api")).to_contain_text(HOSTILE)

        await tab.do(look)
