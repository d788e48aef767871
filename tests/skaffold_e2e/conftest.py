"""A project and a namespace for each test, since a real Skaffold needs both for itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.cluster.bed import Bed
from tests.support.skaffold import Project, hello


@pytest.fixture
def project(bed: Bed, tmp_path: Path) -> Iterator[Project]:
    with hello(bed, tmp_path) as project:
        yield project
