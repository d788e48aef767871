"""What the terminal's tests share: tmux, and a cluster with one deployment."""

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
    """A folder of the test's own, and portside by its name."""
    place = Place(tmp_path)
    place.environment["PATH"] = f"{Path(PORTSIDE).parent}:{place.environment['PATH']}"
    return place
