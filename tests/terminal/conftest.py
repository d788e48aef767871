"""What the tests of the terminal share: tmux, and a cluster with one deployment."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.made import Place
from tests.support.process import PORTSIDE


@pytest.fixture(autouse=True)
def _tmux() -> None:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is missing: apt-get install --no-install-recommends tmux")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """The test's own folder, with `portside` on the PATH."""
    place = Place(tmp_path)
    place.environment["PATH"] = f"{Path(PORTSIDE).parent}:{place.environment['PATH']}"
    return place
