"""The Windows CPython of fixtures/wine for the tests here; they are skipped where Wine is missing, which CI forbids."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from fixtures.cluster.__main__ import say
from fixtures.wine.install import Windows, installed, missing
from tests.support import limits


@pytest.fixture(scope="session")
def windows() -> Iterator[Windows]:
    if reason := missing():
        pytest.skip(reason)
    with limits.unlimited():  # the first time it is downloaded
        found = installed(say)
    yield found
    subprocess.run(["wineserver", "-k"], env=found.environment(), check=False, capture_output=True)
