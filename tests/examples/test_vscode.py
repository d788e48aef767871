"""examples/vscode/tasks.json: its patterns match portside's real output, and portside has its commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.apps import standard
from fixtures.embedded.skaffold_api import STREAMS
from tests.cli.made import Place
from tests.support.examples import EXAMPLES, json_with_comments
from tests.support.process import portside
from watcher.cli.main import portside as commands

TASKS: dict[str, dict[str, Any]] = {
    task["label"]: task for task in json_with_comments(EXAMPLES / "vscode" / "tasks.json")["tasks"]
}
FORWARDS = TASKS["forwards"]
LABELS = {"app": "web", "skaffold.dev/run-id": "a-run"}


def matching(lines: list[str], pattern: str) -> list[str]:
    return [line for line in lines if re.search(pattern, line)]


async def test_the_background_task_begins_and_ends(tmp_path: Path) -> None:
    """A service without pods begins it with a line that it waits; a pod ends it with a line that it forwards."""
    background = FORWARDS["problemMatcher"]["background"]
    command, *words = FORWARDS["args"]
    assert words.pop() == "plain"
    assert words.pop() == "--output"
    async with EmbeddedCluster.open() as cluster:
        cluster.service("web", {"app": "web"}, [{"port": 8080, "targetPort": "http"}], labels=LABELS)
        place = Place(tmp_path)
        place.environment["KUBECONFIG"] = str(cluster.kubeconfig(tmp_path / "kubeconfig"))
        asked = (command, *words, "--port-forward=services")
        async with portside(*asked, environment=place.environment, folder=tmp_path, output="plain") as running:
            await running.wait_for(lambda _: bool(matching(running.others, background["beginsPattern"])))
            assert not matching(running.others, background["endsPattern"])
            await cluster.pod("web", standard("hello"), labels=LABELS)
            await running.wait_for(lambda _: bool(matching(running.others, background["endsPattern"])))
            await running.end()


def test_skaffolds_own_lines_begin_and_end_the_other() -> None:
    """The lines that a real `skaffold dev` printed."""
    printed = (STREAMS / "dev-redeploy.log").read_text().splitlines()
    background = TASKS["skaffold and its forwards"]["problemMatcher"]["background"]
    assert matching(printed, background["beginsPattern"])
    assert matching(printed, background["endsPattern"])


def test_mistakes_lead_to_their_line(tmp_path: Path) -> None:
    """The message for a broken file has file and line where the pattern expects them."""
    place = Place(tmp_path)
    place.write("portside.yaml", "apiVersion: portside/v1\nforwards: 1\n")
    pattern = FORWARDS["problemMatcher"]["pattern"]
    printed = place.portside("watch", "--cluster").stderr
    found = re.search(pattern["regexp"], printed, re.MULTILINE)
    assert found is not None, printed
    assert (found[pattern["file"]], found[pattern["line"]]) == ("portside.yaml", "2")
    assert found[pattern["message"]].startswith("forwards: ")


@pytest.mark.parametrize("label", TASKS)
def test_its_words_are_portsides(label: str) -> None:
    """portside parses each command; nothing is started."""
    task = TASKS[label]
    assert task["command"] == "portside"
    name, *words = (word.replace("${workspaceFolder}", ".") for word in task["args"])
    command = commands.get_command(commands.make_context("portside", [], resilient_parsing=True), name)
    assert command is not None
    command.make_context(name, words)


def test_what_is_depended_on_is_there() -> None:
    """Each label that a task depends on exists."""
    assert all(label in TASKS for task in TASKS.values() for label in task.get("dependsOn", ()))
