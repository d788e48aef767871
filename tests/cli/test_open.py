"""`open: /path` in portside.yaml and --open: the browser opens a forward once, when it is first ready."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web
from forwarders.system.terminals import open_url
from tests.board.made import forward
from tests.cli.made import NAMESPACE, Place, closed_port
from tests.support.browser import FakeBrowser
from tests.support.process import portside
from watcher.board.board import Board
from watcher.board.records import ForwardRecord, PlanRecord
from watcher.cli.sinks import BrowserOpener

LABELLED = ("watch", "--cluster", "--port-forward=services")
PORTSIDE_YAML = """\
apiVersion: portside/v1
forwards:
- {resourceType: service, resourceName: web, port: 8080, localPort: [%d, %d], open: '/admin?tab=1#top'}
- {resourceType: service, resourceName: api, port: 8080}
"""


@pytest.fixture
def browser(place: Place) -> FakeBrowser:
    return FakeBrowser(place.folder, place.environment)


async def test_once_and_not_after_a_redeploy(cluster: EmbeddedCluster, place: Place, browser: FakeBrowser) -> None:
    """--open opens the first target once; a new pod opens nothing."""
    deployment = await cluster.deployment("api", [Port(8080, web("api"), "http")], namespace=NAMESPACE)
    words = ("forward", "deploy/api", ":8080", "svc/web", ":8080", "--open")
    async with portside(*words, environment=place.environment, folder=place.folder) as program:
        url = (await program.ready("api"))["url"]
        assert await browser.next() == f"{url}/"
        for pod in list(deployment.pods):
            await deployment.replace_pod(pod)
        await program.wait_for(lambda records: len({r.get("pod") for r in records} - {None, ""}) > 2)
        await program.ready("api")
        await program.ready("web")
        assert await program.end() == 0
    assert browser.all == [f"{url}/"]


async def test_the_path_of_portside_yaml(cluster: EmbeddedCluster, place: Place, browser: FakeBrowser) -> None:
    """The path is opened at the first of two local ports; a forward without `open` is not opened, even with --open."""
    cluster.service("api", {"app": "web"}, [{"port": 8080}], namespace=NAMESPACE)
    ports = closed_port(), closed_port()
    place.write("portside.yaml", PORTSIDE_YAML % ports)
    async with portside(*LABELLED, "--open", environment=place.environment, folder=place.folder) as program:
        await program.ready("api")
        first = await program.ready("web", source="direct", requestedPort=ports[0])
        assert await browser.next() == f"{first['url']}/admin?tab=1#top"
        await program.ready("web", source="direct", requestedPort=ports[1])
        assert await program.end() == 0
    assert browser.all == [f"{first['url']}/admin?tab=1#top"]


async def test_without_a_browser(cluster: EmbeddedCluster, place: Place) -> None:
    """Without BROWSER and display no program is started; --open logs one line, and the forward works."""
    started = place.folder / "started"
    place.write("xdg-open", f"#!/bin/sh\ntouch {started}\n")
    await trio.Path(place.folder / "xdg-open").chmod(0o755)
    place.environment["PATH"] = f"{place.folder}:{os.defpath}"
    words = ("forward", "svc/web", ":8080", "--open")
    async with portside(*words, environment=place.environment, folder=place.folder) as program:
        url = (await program.ready("web"))["url"]
        await program.says(f"{url}/ was not opened: there is no display, and BROWSER is not set")
        assert await program.end() == 0
    assert not await trio.Path(started).exists()


def test_a_path_that_is_none(place: Place) -> None:
    """A value that is not a path is one line with file, line and field; exit code 2."""
    place.write("portside.yaml", (PORTSIDE_YAML % (1, 2)).replace("/admin?tab=1#top", "http://elsewhere"))
    done = place.portside(*LABELLED)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "portside.yaml line 3: open: 'http://elsewhere' is not a path" in done.stderr


async def opened(*batches: tuple[ForwardRecord | PlanRecord, ...], requested: bool) -> list[str]:
    """The pages that are opened while these records are published, one batch after the other."""
    pages: list[str] = []

    def open_page(url: str) -> str:
        pages.append(url)
        return ""

    board = Board()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(BrowserOpener(requested=requested, open_page=open_page).run, board)
        for batch in batches:
            for record in batch:
                board.publish(record)
            await trio.testing.wait_all_tasks_blocked(0.01)
        board.close()
    return pages


PLAN = PlanRecord(time="", settled=False)


async def test_without_entries_the_first_ready_forward_is_opened() -> None:
    """--open waits for a plan, since it may have a forward with a path; then it opens one forward, once."""
    web, api = forward("web"), forward("api")
    assert await opened((web,), (PLAN,), (api,), requested=True) == [f"{web.url}/"]
    assert await opened((web,), (PLAN,), (api,), requested=False) == []


async def test_each_forward_with_a_path_is_opened_once() -> None:
    """A target is opened at one address only, and not again after it lost its pod or was started again."""
    web = replace(forward("web"), open_path="/a")
    away = replace(web, state="listening")
    twin = replace(web, id="twin", local_address="10.0.0.1", url="http://10.0.0.1:1")
    stopped = replace(web, state="stopped", url="")
    batches = ((PLAN, away), (web, twin), (away,), (web,), (stopped,), (web,))
    assert await opened(*batches, requested=False) == [f"{web.url}/a"]


@pytest.mark.parametrize(
    ("browser", "environ", "page"),
    [
        ("{good}", {}, "http://x/"),
        ("{good} --new %s#end", {}, "--new"),
        ("/nowhere/none:{bad}:{good}", {}, "http://x/"),
        ("", {"DISPLAY": ":0"}, "http://x/"),
    ],
)
def test_the_program_that_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: str, environ: dict[str, str], page: str
) -> None:
    """The first command of BROWSER that works is used, else the desktop's."""
    show = f'echo "$1" >{tmp_path}/page'
    for name, script in (("good", show), ("bad", "exit 3"), ("xdg-open", show)):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    text = browser.format(good=tmp_path / "good", bad=tmp_path / "bad")
    assert open_url("http://x/", {**environ, "BROWSER": text}) == ""
    assert (tmp_path / "page").read_text().strip() == page


def test_why_no_program_opens(tmp_path: Path) -> None:
    """The reason is that of the last program that was tried."""
    assert open_url("http://x/", {}) == "there is no display, and BROWSER is not set"
    assert open_url("http://x/", {"BROWSER": "/nowhere/none"}) == "/nowhere/none: No such file or directory"
    assert open_url("http://x/", {"BROWSER": "false"}) == "false ended with exit code 1"
