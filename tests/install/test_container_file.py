"""Containerfile: who runs the image, and what is copied into it. That it builds and forwards was tried by hand."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "Containerfile").read_text().splitlines()


def test_it_does_not_run_as_root() -> None:
    """By number: Kubernetes cannot check a name with runAsNonRoot."""
    [user] = [line.split()[1] for line in LINES if line.startswith("USER")]
    assert 0 not in map(int, user.split(":"))


def test_the_build_gets_what_the_wheel_needs_and_no_more() -> None:
    """No `.venv`, no tests: `COPY . /portside` copies what the ignore file leaves."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    texts = [project["project"]["readme"], *project["project"]["license-files"]]
    ignored = (ROOT / ".containerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == {*packages, *texts, "pyproject.toml"}
    assert (ROOT / ".dockerignore").read_text().splitlines() == ignored  # docker reads its own name only
