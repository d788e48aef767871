"""examples/systemd: systemd accepts the unit, and it starts a portside that forwards."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.apps import standard
from tests.cli.made import Place
from tests.support.examples import EXAMPLES
from tests.support.probe import get
from tests.support.process import PORTSIDE, portside

UNIT = EXAMPLES / "systemd" / "portside@.service"


@pytest.fixture
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # directives are case-sensitive
    parser.read(UNIT)
    return parser


def test_systemd_takes_it(tmp_path: Path) -> None:
    """systemd-analyze reports nothing, where the machine has it; its program is at the usual place for a user."""
    text = UNIT.read_text()
    assert "ExecStart=%h/.local/bin/portside " in text
    copy = tmp_path / "portside@.service"
    copy.write_text(text.replace("%h/.local/bin/portside", PORTSIDE))
    if analyze := shutil.which("systemd-analyze"):
        words = [analyze, "verify", "--user", "--man=no", str(copy)]
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}  # a user's manager has one
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, env=environment)
        assert (done.returncode, [line for line in done.stderr.splitlines() if "portside" in line]) == (0, [])


def test_wrong_usage_is_not_started_again(unit: configparser.ConfigParser, tmp_path: Path) -> None:
    """Exit code 2 is portside's code for wrong usage."""
    assert unit["Service"]["Restart"] == "on-failure"
    done = Place(tmp_path).portside("forward", "widget/web", "80")
    assert str(done.returncode) == unit["Service"]["RestartPreventExitStatus"]


async def test_its_words_forward(unit: configparser.ConfigParser, tmp_path: Path) -> None:
    """The expanded ExecStart forwards, with the file that the unit's comment describes."""
    (line,) = [line for line in UNIT.read_text().splitlines() if "PORTSIDE_WORDS=" in line]
    command, *words = line.partition("PORTSIDE_WORDS=")[2].partition("'")[0].split()
    assert unit["Service"]["ExecStart"].split()[1:] == ["$PORTSIDE_WORDS"]
    name, _, value = unit["Service"]["Environment"].partition("=")
    async with EmbeddedCluster.open() as cluster:
        await cluster.pod("web", standard("hello"), namespace="shop", labels={"app": "web"})
        cluster.service("web", {"app": "web"}, [{"port": 80, "targetPort": "http"}], namespace="shop")
        place = Place(tmp_path)
        place.environment |= {"KUBECONFIG": str(cluster.kubeconfig(tmp_path / "kubeconfig")), name: value}
        words[words.index("8080:80")] = ":80"  # 8080 may be taken on this machine
        async with portside(command, *words, environment=place.environment, folder=tmp_path) as running:
            assert (await get((await running.ready("web"))["localPort"]))[0] == 200
            assert await running.end() == 0
