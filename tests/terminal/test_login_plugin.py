"""A login plugin in a real terminal: it may prompt at the start, and later failures stop no forward."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.access import EVERYTHING
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web
from tests.cli.made import Place
from tests.support.process import gone, portside
from tests.support.tmux import Terminal, terminal

# Does what the file `does` says, once for each time that it is run, and prints the token of `token`.
PLUGIN = """import json, os, pathlib, sys, time
here = pathlib.Path(__file__).parent
with open(here / "runs", "a") as runs:
    runs.write(str(os.getpid()) + "\\n")
match (here / "does").read_text():
    case "ask":
        sys.stderr.write("code: ")
        sys.stderr.flush()
        if sys.stdin.readline() != "1234\\n":
            sys.exit("wrong code")
    case "fail":
        sys.exit("your session has ended:\\nrun `login` again")
    case "garbage":
        print("<html>")
        sys.exit()
    case "signal":
        os.kill(os.getpid(), 9)
    case "hang":
        time.sleep(1000)
version = "client.authentication.k8s.io/v1"
status = {"token": (here / "token").read_text()}
print(json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status}))
"""


class Scene:
    """A kubeconfig with that plugin, for a cluster with a deployment `web`."""

    def __init__(self, place: Place, cluster: EmbeddedCluster) -> None:
        self.place = place
        self.cluster = cluster
        self._edits = 0
        place.write("plugin.py", PLUGIN)
        place.write("token", cluster.access.grant("ann", EVERYTHING))
        place.environment["KUBECONFIG"] = str(cluster.kubeconfig(place.folder / "config"))

    def does(self, what: str) -> None:
        """Changes what the plugin does, and edits its entry so that portside runs it."""
        self.place.write("does", what)
        self._edits += 1
        config: dict[str, Any] = json.loads((self.place.folder / "config").read_text())
        config["users"][0]["user"] = {
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": sys.executable,
                "args": [str(self.place.folder / "plugin.py")],
                "env": [{"name": "EDIT", "value": str(self._edits)}],
                "interactiveMode": "IfAvailable",
            }
        }
        self.place.write("config", json.dumps(config))

    async def plugin_ends(self) -> None:
        """Returns when the last started plugin has ended."""
        runs = (self.place.folder / "runs").read_text().splitlines()
        with suppress(ProcessLookupError), trio.fail_after(60):
            await gone(int(runs[-1]))


@pytest.fixture
async def scene(place: Place) -> AsyncIterator[Scene]:
    async with EmbeddedCluster.open() as cluster:
        await cluster.deployment("web", [Port(8080, web("hello"), "http")])
        yield Scene(place, cluster)


async def serves(term: Terminal) -> None:
    """Checks that the table shows the forward as ready and that its address answers."""
    screen = await term.shows(lambda lines: any(" ready " in line for line in lines))
    row = next(line for line in screen if " ready " in line)
    address = next(word for word in row.split() if word.startswith("http://"))
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        assert "hello" in (await client.get(address)).text


async def test_forwards_serve_whatever_becomes_of_the_plugin(scene: Scene) -> None:
    """A plugin that fails, prints garbage, dies or hangs is one line with its message; forwards continue."""
    said = {
        "fail": "failed (exit code 1): your session has ended: run `login` again",
        "garbage": "failed: its output is not JSON",
        "signal": "failed (ended by SIGKILL): it printed nothing",
        "hang": "waiting for the login plugin",
    }
    scene.does("work")
    async with terminal(scene.place.environment, scene.place.folder, width=400, height=40) as term:
        await term.command("portside", "forward", "deploy/web", ":8080")
        await serves(term)
        for what, words in said.items():
            scene.does(what)
            await term.says(words)
            await serves(term)
        screen = await term.screen("-S", "-")
        assert [sum(words in line for line in screen) for words in said.values()] == [1] * len(said)
        assert not [line for line in screen if "Traceback" in line]
        scene.does("work")  # the one that hangs is not waited for
        await term.says("credentials are renewed")
        scene.does("hang")
        await serves(term)
        await term.press("C-c")
        await term.prompts()
    await scene.plugin_ends()


async def test_a_plugin_may_ask_at_the_start(scene: Scene) -> None:
    """The plugin's prompt appears at once and gets what is typed; then the table appears."""
    scene.does("ask")
    async with terminal(scene.place.environment, scene.place.folder, width=200) as term:
        await term.command("portside", "forward", "deploy/web", ":8080")
        await term.says("code:")
        await term.type("1234")
        await term.press("Enter")
        await serves(term)
        await term.press("C-c")
        await term.prompts()


async def test_a_prompt_is_seen_where_the_output_is_a_pipe(scene: Scene) -> None:
    """`portside … | cat`: the prompt goes to stderr, which is the terminal."""
    scene.does("ask")
    async with terminal(scene.place.environment, scene.place.folder, width=200) as term:
        await term.type("portside forward deploy/web :8080 | cat")
        await term.press("Enter")
        await term.says("code:")
        await term.type("1234")
        await term.press("Enter")
        await term.says("Port forwarding deployment/web")
        await term.press("C-c")
        await term.prompts()


async def test_ctrl_c_while_the_plugin_asks(scene: Scene) -> None:
    """Ctrl-C during the prompt ends portside and the plugin at once."""
    scene.does("hang")
    async with terminal(scene.place.environment, scene.place.folder, width=200) as term:
        await term.command("portside", "forward", "deploy/web", ":8080")
        await term.says("waiting for the login plugin")
        await term.press("C-c")
        await term.prompts()
    await scene.plugin_ends()


async def test_sigterm_while_the_plugin_hangs_at_the_start(scene: Scene) -> None:
    """SIGTERM ends portside while a plugin hangs, and no process is left."""
    scene.does("hang")
    environment = scene.place.environment
    async with portside(
        "forward", "deploy/web", ":8080", environment=environment, folder=scene.place.folder
    ) as program:
        await program.says("waiting for the login plugin")
        assert await program.end(signal.SIGTERM) == -signal.SIGTERM
    await scene.plugin_ends()
