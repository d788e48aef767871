"""The built Skaffold, and the referee of the same version. No cluster is needed for either."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.cluster.binaries import built
from fixtures.cluster.binaries import referee as referee_module
from fixtures.cluster.binaries import skaffold as skaffold_module
from fixtures.cluster.layout import Layout
from fixtures.referee.referee import Referee


@pytest.fixture(scope="session")
def skaffold() -> str:
    layout = Layout.from_environment()
    return str(built(skaffold_module(layout.versions.skaffold), layout, lambda _: None) / "skaffold")


@pytest.fixture(scope="session")
def referee() -> Iterator[Referee]:
    layout = Layout.from_environment()
    folder = built(referee_module(layout.versions.skaffold), layout, lambda _: None)
    with Referee(folder / "referee") as found:
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
