"""What the tests of the command share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.made import Place, closed_port, kubeconfig


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with a kubeconfig for an API server that is away."""
    place = Place(tmp_path)
    place.environment["KUBECONFIG"] = place.write("kubeconfig", kubeconfig(closed_port()))
    return place
