"""One Docker engine for all tests of this session that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.docker.engine import Engine, engine


@pytest.fixture(scope="session")
def docker() -> Iterator[Engine]:
    with engine() as running:
        yield running
