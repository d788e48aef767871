"""A namespace for each module of tests."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from fixtures.cluster.bed import Bed
from tests.support.objects import namespace


@pytest.fixture(scope="module")
def space(bed: Bed) -> Iterator[str]:
    with namespace(bed, f"examples-{secrets.token_hex(4)}") as name:
        yield name
