"""Each version of Skaffold that a bed has, with the referee of that version. Neither needs a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.cluster import binaries
from fixtures.cluster.versions import SKAFFOLDS
from fixtures.referee.referee import Referee
from tests.support.skaffold import program, skaffold_program

# CI has time for the newest one; --long runs all.
VERSIONS = [pytest.param(one, marks=() if one == SKAFFOLDS[-1] else pytest.mark.long) for one in SKAFFOLDS]


@pytest.fixture(scope="session", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def skaffold(version: str) -> str:
    return skaffold_program(version)


@pytest.fixture(scope="session")
def referee(version: str) -> Iterator[Referee]:
    with Referee(Path(program(binaries.referee(version)))) as found:
        yield found


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two contexts, of which "here" is the current one; the working directory is put back after the test."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "kubeconfig"
    contexts = ", ".join(f"{{name: {name}, context: {{cluster: c, user: ''}}}}" for name in ("here", "there"))
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
        f"contexts: [{contexts}]\nclusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:1'}}}}]\n"
    )
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest.fixture
def environ(tmp_path: Path, kubeconfig: Path) -> dict[str, str]:
    """What Skaffold is given; its home is the test's own."""
    home = tmp_path / "home"
    home.mkdir()
    return {"HOME": str(home), "PATH": os.environ["PATH"], "KUBECONFIG": str(kubeconfig)}
