"""Names beside the real cluster: three services at once in a real browser through a rollout; curl as people use it."""

from __future__ import annotations

import secrets
import subprocess
from contextlib import AsyncExitStack
from functools import partial

import pytest
import trio
from playwright.sync_api import Page

from fixtures.browser.chromium import Chromium
from fixtures.cluster.bed import Bed
from tests.cli.made import closed_port
from tests.support.objects import apply, deployment, namespace, rolled_out, service
from tests.support.process import portside

pytestmark = pytest.mark.cluster

NAMES = ("shop", "chat", "news")
CHAT = """() => {
  window.said = [];
  const connect = () => {
    const socket = new WebSocket(`ws://${location.host}/ws`);
    const timer = setInterval(() => socket.readyState === 1 && socket.send("hello"), 20);
    socket.onmessage = (event) => window.said.push(event.data);
    socket.onclose = () => { clearInterval(timer); setTimeout(connect, 20); };
  };
  connect();
}"""
NEWS = """() => {
  window.said = [];
  new EventSource("/stream?n=100&ms=20").onmessage = (event) => window.said.push(event.data);
}"""
POD = "async () => (await fetch('/')).headers.get('x-pod')"


async def test_three_services_through_a_rollout(bed: Bed, browser: Chromium) -> None:
    """Chromium finds them by name alone; pages, a WebSocket and server-sent events go on with the new pods."""
    with namespace(bed, f"gateway-{secrets.token_hex(4)}") as space:
        apply(bed, space, *(make(name) for name in NAMES for make in (deployment, service)))
        rolled_out(bed, space, *NAMES)
        port = closed_port()
        words = (
            "forward",
            "-n",
            space,
            f"--gateway={port}",
            *(word for name in NAMES for word in (f"svc/{name}", ":8080")),
        )
        async with portside(*words, environment=bed.environment()) as running, AsyncExitStack() as stack:
            for name in NAMES:
                assert (await running.ready(name))["gateway"] == f"http://{name}.localhost:{port}"
            shop, chat, news = [
                await stack.enter_async_context(browser.tab(f"http://{name}.localhost:{port}/")) for name in NAMES
            ]
            await chat.do(lambda page: page.evaluate(CHAT))
            await news.do(lambda page: page.evaluate(NEWS))
            before = [await tab.do(lambda page: page.evaluate(POD)) for tab in (shop, chat, news)]
            async with trio.open_nursery() as nursery:
                rolled = trio.Event()
                nursery.start_soon(_roll, bed, space, rolled)
                while not rolled.is_set():
                    await shop.do(_opens, f"http://shop.localhost:{port}/")
            after = [await tab.do(lambda page: page.evaluate(POD)) for tab in (shop, chat, news)]
            assert not set(before) & set(after)
            assert [name for name, pod in zip(NAMES, after, strict=True) if not pod.startswith(name)] == []
            for tab in (chat, news):
                await tab.do(_hears_more)
            await _curl(port)


async def _roll(bed: Bed, space: str, rolled: trio.Event) -> None:
    restart = partial(bed.kubectl, "-n", space, "rollout", "restart", *(f"deployment/{name}" for name in NAMES))
    await trio.to_thread.run_sync(partial(restart, timeout=90))
    await trio.to_thread.run_sync(rolled_out, bed, space, *NAMES)
    rolled.set()


def _opens(page: Page, url: str) -> None:
    """Chromium's own error page would raise, the gateway's has another status."""
    answer = page.goto(url)
    assert answer is not None
    assert answer.status == 200


def _hears_more(page: Page) -> None:
    page.evaluate("window.said = []")
    page.wait_for_function("window.said.length > 3")


async def _curl(port: int) -> None:
    """By a Host of ours at the address, and by a name that resolves to it."""
    by_host = ("-H", "Host: news.localhost", f"http://127.0.0.1:{port}/")
    by_name = ("--resolve", f"news.localhost:{port}:127.0.0.1", f"http://news.localhost:{port}/")
    for words in (by_host, by_name):
        command = ["curl", "-sS", "--fail", "--max-time", "30", *words]
        answer = await trio.to_thread.run_sync(partial(subprocess.run, command, capture_output=True, text=True))
        assert "pod news-" in answer.stdout, answer.stderr
