"""examples/devcontainer: editors can parse it, and portside has its commands."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.made import Place, closed_port, kubeconfig
from tests.support.examples import EXAMPLES, json_with_comments
from watcher.cli.main import portside as commands

FOLDER = EXAMPLES / "devcontainer"
CONTAINER: dict[str, Any] = json_with_comments(FOLDER / "devcontainer.json")


def test_the_ports_have_attributes() -> None:
    """Those that are forwarded on are named; another port than the one asked for would lead nowhere."""
    assert set(CONTAINER["portsAttributes"]) == {str(port) for port in CONTAINER["forwardPorts"]}
    assert CONTAINER["containerEnv"]["PORTSIDE_STRICT_PORTS"] == "true"
    assert (FOLDER / CONTAINER["build"]["dockerfile"]).exists()


@pytest.mark.parametrize("name", ["postStartCommand", "postAttachCommand"])
def test_its_commands_are_portsides(name: str) -> None:
    """portside parses each command; nothing is started."""
    words = CONTAINER[name].partition("||")[0].split()
    assert words[0] == "portside"
    command = commands.get_command(commands.make_context("portside", [], resilient_parsing=True), words[1])
    assert command is not None
    command.make_context(words[1], words[2:])


def test_the_start_goes_on_whatever_is_found(tmp_path: Any) -> None:
    """A cluster that is away does not keep the container from starting; portside reads its variables."""
    place = Place(tmp_path)
    place.environment |= CONTAINER["containerEnv"] | {"REMOTE_CONTAINERS": "true"}
    place.environment["KUBECONFIG"] = place.write("kubeconfig", kubeconfig(closed_port()))
    words = CONTAINER["postStartCommand"].partition("||")
    assert words[2].strip() == "true"
    done = place.portside(*words[0].split()[1:])
    assert done.returncode == 1
    assert "a development container" in done.stdout
    assert place.portside("watch", "--cluster", PORTSIDE_STRICT_PORTS="nonsense").returncode == 2
