"""The Windows CPython of fixtures/wine. Without Wine its tests are skipped, which fails CI."""

from __future__ import annotations

import pytest

from fixtures.cluster.__main__ import say
from fixtures.wine.install import Windows, installed, missing
from tests.support import limits


@pytest.fixture(scope="session")
def windows() -> Windows:
    if reason := missing():
        pytest.skip(reason)
    with limits.unlimited():  # the first time includes the download
        return installed(say)
