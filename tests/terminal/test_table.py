"""The live table in a real terminal while the embedded cluster changes."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.deployment import Deployment
from fixtures.embedded.pods import Port
from fixtures.embedded.skaffold_api import Recording, SkaffoldApi
from fixtures.embedded.web import web
from tests.cli.made import Place, closed_port, kubeconfig
from tests.support.process import PORTSIDE
from tests.support.tmux import PROMPT, Terminal, terminal

NAMESPACE = "parity"  # the recorded run's
TWO_NAMESPACES = "apiVersion: portside/v1\nportForward: [services]\n"
WEB = "svc/web:8080"


class Stage:
    """A deployment and a service `web` of the recorded run."""

    def __init__(self, place: Place, cluster: EmbeddedCluster, deployment: Deployment) -> None:
        self.place = place
        self.cluster = cluster
        self.deployment = deployment

    @asynccontextmanager
    async def portside(self, *words: str, width: int = 130, height: int = 24) -> AsyncIterator[Terminal]:
        """`portside WORDS…` typed into a terminal."""
        async with terminal(self.place.environment, self.place.folder, width=width, height=height) as term:
            await term.command("portside", *words)
            yield term


@pytest.fixture
async def stage(place: Place) -> AsyncIterator[Stage]:
    labels = {"skaffold.dev/run-id": Recording.load("handle-post").run_id}
    async with EmbeddedCluster.open() as cluster:
        ports = [Port(8080, web("hello"), "http")]
        deployment = await cluster.deployment("web", ports, namespace=NAMESPACE, labels=labels)
        cluster.service("web", {"app": "web"}, [{"port": 8080}], namespace=NAMESPACE, labels=labels)
        config = cluster.kubeconfig(place.folder / "embedded", namespace=NAMESPACE)
        place.environment["KUBECONFIG"] = str(config)
        yield Stage(place, cluster, deployment)


def row(screen: list[str], name: str = WEB) -> str:
    """The last line that starts with this text, or ""."""
    return next((line for line in reversed(screen) if line.startswith(name)), "")


def headings(screen: list[str]) -> int:
    """The number of visible tables; more than one means a damaged screen."""
    return sum(line.startswith("NAME ") for line in screen)


def whole(screen: list[str], without: str = "no such column") -> bool:
    """Whether the screen has the heading and one complete table of one forward."""
    lines = [line for line in screen if line]
    about = [line for line in lines if line.startswith(("context ", "page "))]
    if "".join(about).count("page http") != 1 or lines[: len(about)] != about:
        return False
    lines = lines[len(about) :]
    return (
        len(lines) == 2 and lines[0].startswith("NAME ") and lines[1].startswith("svc/web") and without not in lines[0]
    )


async def test_a_forward_lives(stage: Stage) -> None:
    """The table shows state, address, pod and counters, and why a forward waits."""
    async with stage.portside("forward", "svc/web", ":8080") as term:
        line = row(await term.shows(lambda screen: " ready " in row(screen)))
        name, namespace, address, state, pod, *_ = line.split()
        assert (name, namespace, state, pod) == (WEB, NAMESPACE, "ready", stage.deployment.pods[0].name)
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            assert "hello" in (await client.get(address)).text
        await term.shows(lambda screen: "/1 " in row(screen))
        await stage.deployment.scale(0)
        await term.shows(lambda screen: " listening " in row(screen) and "no pod" in "".join(screen))
        await stage.deployment.scale(1)
        await term.shows(lambda screen: " ready " in row(screen))
        assert headings(await term.screen()) == 1


async def test_ctrl_c_leaves_the_terminal_clean(stage: Stage) -> None:
    """After Ctrl-C the last table stays, the prompt has its own line, and cursor and keys work as before."""
    async with stage.portside("forward", "svc/web", ":8080") as term:
        await term.shows(lambda screen: " ready " in row(screen))
        await term.type("typed blindly")
        await term.press("Enter", "C-c")
        screen = await term.prompts()
        assert headings(screen) == 1
        assert " stopped " in row(screen)
        assert not [line for line in screen if "typed" in line or "Traceback" in line]
        assert await term.modes() == "110"
        await term.command("echo", "seen", "again")
        await term.says(f"{PROMPT}echo seen again")


async def test_another_size(stage: Stage) -> None:
    """A narrow terminal shows fewer columns, a wide one all; there is never more than one table."""
    async with stage.portside("forward", "svc/web", ":8080") as term:
        await term.shows(lambda screen: "OPEN/TOTAL" in row(screen, "NAME "))
        for width, lost in ((70, "POD"), (45, "NAMESPACE")):
            await term.resize(width, 24)
            await term.shows(partial(whole, without=lost))
        await term.resize(140, 30)
        await term.shows(lambda screen: whole(screen) and "BYTES OUT/IN" in row(screen, "NAME "))


async def test_in_the_background(stage: Stage) -> None:
    """`portside forward … &` prints lines: the shell has the terminal, and a table would tear what it shows."""
    async with terminal(stage.place.environment, stage.place.folder, width=130) as term:
        await term.type("portside forward svc/web :8080 &")
        await term.press("Enter")
        await term.says("portside forward: context embedded, namespace parity, page http://127.0.0.1:")
        await term.says("Port forwarding service/web in namespace parity, remote port 8080 -> http://127.0.0.1:")
        assert headings(await term.screen()) == 0
        await term.type("kill %1")
        await term.press("Enter")
        await term.says("Stopped forwarding service/web")


async def test_more_rows_than_lines(stage: Stage) -> None:
    """Trouble first; the arrows move through the rest, and the terminal itself does not scroll."""
    for number in range(12):
        stage.cluster.service(f"s{number}", {"app": "web"}, [{"port": 8080}], namespace=NAMESPACE)
    stage.cluster.service("waits", {"app": "nothing"}, [{"port": 80}], namespace=NAMESPACE)
    targets = [word for number in range(12) for word in (f"svc/s{number}", ":8080")]
    async with stage.portside("forward", *targets, "svc/waits", ":80", height=10) as term:
        screen = await term.shows(lambda screen: "no pod matches" in row(screen, "  service waits"))
        assert screen[2].startswith("svc/waits:80 ")
        await term.says("1-5 of 13")
        await term.press("End")
        await term.shows(lambda screen: "svc/s11:8080" in row(screen, "svc/s11") and "of 13" in "".join(screen))
        await term.press("Home")
        await term.shows(lambda screen: row(screen, "svc/waits:80"))
        assert headings(await term.screen("-S", "-")) == 1


async def test_without_keys(stage: Stage) -> None:
    """If stdin is not the terminal, the table counts the hidden rows and offers no keys."""
    for number in range(12):
        stage.cluster.service(f"s{number}", {"app": "web"}, [{"port": 8080}], namespace=NAMESPACE)
    targets = " ".join(f"svc/s{number} :8080" for number in range(12))
    async with terminal(stage.place.environment, stage.place.folder, width=130, height=10) as term:
        await term.type(f"portside forward {targets} </dev/null")
        await term.press("Enter")
        screen = await term.says("and 6 more: portside status shows all")
        assert "? for keys" not in "".join(screen)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
async def test_widths(stage: Stage, width: int) -> None:
    """Every row whole: name, namespace while two share a name, address, state; why one waits, whole as well."""
    labels = {"skaffold.dev/run-id": Recording.load("handle-post").run_id}
    stage.cluster.service("web", {"app": "web"}, [{"port": 8080}], namespace="shop", labels=labels)
    (stage.place.folder / "portside.yaml").write_text(TWO_NAMESPACES)
    async with stage.portside("watch", "--cluster", "-n", NAMESPACE, "-n", "shop", width=width) as term:
        screen = await term.shows(lambda screen: " ready " in row(screen) + " " and "no pod matches" in "".join(screen))
        assert max(len(line) for line in screen) <= width
        rows = [line.split() for line in screen if line.startswith("svc/web")]
        assert {words[1] for words in rows} == {NAMESPACE, "shop"}
        assert all(words[2].startswith("http://127.0.0.1:") for words in rows)
        assert {words[3] for words in rows} == {"listening", "ready"}
        text = " ".join(line.strip() for line in screen)
        assert "service web: no pod matches app=web" in text
        assert (width < 200) == any(line.startswith("  service web: no pod") for line in screen)


async def test_filter_copy_and_open(stage: Stage) -> None:
    """`/` finds a row; `y` gives its URL to the terminal, `o` to the browser; `?` says what there is."""
    opened = stage.place.folder / "opened"
    opener = stage.place.folder / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\necho "$1" >{opened}\n')
    opener.chmod(0o755)
    stage.place.environment["PATH"] = f"{opener.parent}:{stage.place.environment['PATH']}"
    stage.place.environment["DISPLAY"] = ":99"
    stage.cluster.service("api", {"app": "web"}, [{"port": 8080}], namespace=NAMESPACE)
    async with stage.portside("forward", "svc/web", ":8080", "svc/api", ":8080") as term:
        await term.set("set-clipboard", "on")
        await term.shows(lambda screen: " ready " in row(screen) and " ready " in row(screen, "svc/api"))
        await term.press("y")
        await term.says("select a forward first")
        await term.type("/api")
        await term.shows(lambda screen: "filter: api_" in screen and not row(screen))
        await term.press("Enter", "y")
        url = row(await term.says("copied http://127.0.0.1:"), "svc/api").split()[2]
        assert await term.buffer() == url
        await term.press("o")
        await term.says(f"opened {url}/")
        assert opened.read_text() == f"{url}/\n"
        await term.press("?")
        await term.says("try a failed forward again")
        await term.press("Escape")
        await term.shows(lambda screen: row(screen, "svc/api"))
        await term.press("Escape")
        await term.shows(lambda screen: row(screen) and row(screen, "svc/api"))
        await term.press("C-c")
        assert "? for keys" not in "".join(await term.prompts())
        assert await term.modes() == "110"


async def test_retry_where_the_port_was_taken(stage: Stage) -> None:
    """`r` binds it once its other holder is gone; without that it stays as it is."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        async with stage.portside("forward", "svc/web", f"{port}:8080", "svc/web", ":8080") as term:
            await term.shows(lambda screen: any(" failed " in line for line in screen))
            await term.press("Home", "r")
            await term.says("trying service/web again")
            await term.shows(lambda screen: any(" failed " in line for line in screen))
            holder.close()
            await term.press("r")
            await term.shows(lambda screen: any(f":{port} " in line and " ready " in line for line in screen))


async def test_warnings_stand_above(stage: Stage) -> None:
    """Warnings appear complete above the table, which stays complete."""
    address = f"http://127.0.0.1:{closed_port()}"
    async with stage.portside("watch", "--skaffold", address, width=100) as term:
        screen = await term.says("waiting for one")
        screen = await term.shows(lambda screen: screen[-1:] == [""] and "nothing is forwarded" in "".join(screen))
        warning = next(line for line in screen if line.startswith("portside: "))
        assert address in warning
        assert screen.index(warning) < screen.index("nothing is forwarded")


async def test_skaffolds_phase_and_what_is_skipped(stage: Stage) -> None:
    """Skaffold's phase is above the forwards and the skips below, one line each."""
    labels = {"skaffold.dev/run-id": Recording.load("handle-post").run_id}
    dns = [{"port": 53, "protocol": "UDP"}]
    stage.cluster.service("dns", {"app": "web"}, dns, namespace=NAMESPACE, labels=labels)
    before, after = Recording.load("handle-post").split("Build", "InProgress")
    async with SkaffoldApi.open(before) as skaffold:
        await _builds(stage, skaffold, after)


async def _builds(stage: Stage, skaffold: SkaffoldApi, rest: Recording) -> None:
    async with stage.portside("watch", "--skaffold", skaffold.url, "--port-forward=services") as term:
        await term.says("Skaffold: building, iteration 1")
        skaffold.play(rest)
        await term.says("Skaffold: idle")
        await term.shows(lambda screen: " ready " in row(screen))
        await term.shows(lambda screen: "svc/dns:53: port 53 is UDP" in row(screen, "Not forwarded ("))


async def test_a_demanded_port_that_is_taken(stage: Stage) -> None:
    """Nothing can be forwarded before there is a table: the terminal shows why."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        async with stage.portside("forward", "svc/web", f"{port}:8080") as term:
            screen = " ".join(await term.prompts())
            if "NAME " not in screen:  # no table yet, so there is a sentence
                assert f"Cannot forward service/web in namespace {NAMESPACE}" in screen
            assert f"port {port} on 127.0.0.1 is taken" in screen
            assert "bug" not in screen


@pytest.mark.parametrize(("variable", "value"), [("TERM", "dumb"), ("NO_COLOR", "1")])
async def test_terminals_with_less(stage: Stage, variable: str, value: str) -> None:
    """A dumb terminal gets lines; NO_COLOR gives a table without colours."""
    stage.place.environment[variable] = value
    async with stage.portside("forward", "svc/web", ":8080") as term:
        if variable == "TERM":
            await term.says("Port forwarding service/web in namespace parity, remote port 8080 -> http://127.0.0.1:")
            assert headings(await term.screen()) == 0
        else:
            await term.shows(lambda screen: " ready " in row(screen))
            assert not [line for line in await term.screen("-e") if re.search("\x1b\\[3[0-7]m", line)]


async def test_status_on_a_dumb_terminal(stage: Stage) -> None:
    """No escape code reaches it."""
    environment = stage.place.environment | {"TERM": "dumb"}
    async with stage.portside("forward", "svc/web", ":8080") as term:
        await term.shows(lambda screen: " ready " in row(screen))
        ours, theirs = os.openpty()
        try:
            await trio.run_process([PORTSIDE, "status"], stdout=theirs, env=environment, cwd=stage.place.folder)
            text = os.read(ours, 10_000)
        finally:
            os.close(ours)
            os.close(theirs)
        assert b"portside forward (pid " in text
        assert b"\x1b" not in text


async def test_stopped_and_continued(stage: Stage) -> None:
    """Ctrl-Z and fg: the shell's lines stay, the table is drawn again below them."""
    async with stage.portside("forward", "svc/web", ":8080") as term:
        await term.shows(lambda screen: " ready " in row(screen))
        await term.press("C-z")
        await term.prompts()
        await term.command("fg")
        screen = await term.shows(lambda screen: headings(screen) == 2)
        assert " ready " in row(screen)
        await term.press("C-c")
        await term.prompts()


async def test_a_stuck_terminal_slows_nothing(stage: Stage) -> None:
    """Output is stopped (Ctrl-S): the forward answers, and its counters are there when output goes on."""
    async with stage.portside("forward", "svc/web", ":8080") as term:
        line = row(await term.shows(lambda screen: " ready " in row(screen)))
        address = line.split()[2]
        await term.press("C-s")
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            with trio.fail_after(60):
                for _ in range(200):
                    assert "hello" in (await client.get(address)).text
        await term.press("C-q")
        await term.press("C-c")
        await term.prompts()


def test_a_table_needs_a_terminal(place: Place) -> None:
    """--output table without a terminal is an error; a pipe gets lines by default."""
    place.environment["KUBECONFIG"] = place.write("kubeconfig", kubeconfig(closed_port()))
    done = place.portside("forward", "svc/web", ":8080", "--output", "table", PATH=os.environ["PATH"])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--output table needs a terminal of its own" in done.stderr


async def test_status_and_explain_for_people(stage: Stage) -> None:
    """On a terminal status and explain are aligned and wrapped; a pipe gets one line for each thing."""
    async with stage.portside("forward", "svc/web", ":8080") as first:
        await first.shows(lambda screen: " ready " in row(screen))
        async with stage.portside("status", width=100) as term:
            screen = await term.prompts()
            assert "portside forward (pid " in screen[1]  # a long folder makes it several lines
            assert any(line.split()[:4] == ["NAME", "NAMESPACE", "ADDRESS", "STATE"] for line in screen)
            assert row(screen).split()[3] == "ready"
            await term.command("sh", "-c", "clear; portside status | cat")
            screen = await term.prompts()
            assert sum(line.startswith("ready ") for line in screen) == 1
        async with stage.portside("explain", width=50) as term:
            screen = await term.prompts()
            screen = screen[screen.index("Forwarded (1)") - 1 :]
            assert screen[2].startswith(f"  {WEB}  {NAMESPACE}  ")
            assert screen[3].startswith(" " * 20)  # the rule goes on below itself
