"""The Windows CPython of fixtures/wine for the tests here; they are skipped where Wine is missing, which CI forbids."""

from __future__ import annotations

import pytest

from fixtures.cluster.__main__ import say
from fixtures.wine.install import Windows, installed, missing
from tests.support import limits


@pytest.fixture(scope="session")
def windows() -> Windows:
    if reason := missing():
        pytest.skip(reason)
    with limits.unlimited():  # the first time it is downloaded
        return installed(say)
