"""Each script has a --help, which works without an installation and names the program's options."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from fixtures.bench.__main__ import MEASUREMENTS
from fixtures.fuzzing.seeds import SEEDS
from fixtures.recording.__main__ import RECORDINGS

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(ROOT.glob("scripts/*"))
# The program of each script, whose options the script's help must name.
PROGRAMS = {
    "bed-table": "fixtures/cluster/table.py",
    "bench": "fixtures/bench/__main__.py",
    "docs": "fixtures/reference/__main__.py",
    "fuzz": "fixtures/fuzzing/__main__.py",
    "mutate": "fixtures/mutation/__main__.py",
    "parity": "fixtures/parity/__main__.py",
}
NAMES = {"bench": MEASUREMENTS, "fuzz": SEEDS, "record-streams": RECORDINGS}


def help_of(script: str, option: str = "--help") -> str:
    """The help, without .venv on the PATH and without an index to install from."""
    done = subprocess.run(
        [ROOT / "scripts" / script, option],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "PIP_NO_INDEX": "1", "LC_ALL": "C.UTF-8"},
    )
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_each_script_has_a_help(script: Path, option: str) -> None:
    """It names the script, and has no line of the script's code."""
    text = help_of(script.name, option)
    assert f"scripts/{script.name}" in text
    assert "set -euo" not in text
    assert "#!" not in text


@pytest.mark.parametrize("script", PROGRAMS)
def test_the_help_names_every_option(script: str) -> None:
    """The options of argparse; parity reads its arguments itself."""
    options = set(re.findall(r'"(--[a-z]+)"', (ROOT / PROGRAMS[script]).read_text()))
    assert options
    assert options - set(re.findall(r"--[a-z]+", help_of(script))) == set()


@pytest.mark.parametrize("script", NAMES)
def test_the_help_names_every_choice(script: str) -> None:
    """The help lists the choices."""
    assert set(NAMES[script]) - set(re.findall(r"[a-z-]+", help_of(script))) == set()


def test_the_workflow_runs_scripts_that_exist() -> None:
    """The workflow cannot run here, but its scripts must exist."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    ran = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    own = [words.split()[0] for words in ran if words.startswith(("scripts/", ".ci/"))]
    assert own == ["scripts/test", ".ci/run"]
    assert all((ROOT / name).exists() for name in own)


@pytest.mark.parametrize("package", ["portside", "watcher", "forwarders"])
def test_packages_are_typed(package: str) -> None:
    """PEP 561: mypy is strict on both, so importers may use their types."""
    assert (ROOT / package / "py.typed").exists()
