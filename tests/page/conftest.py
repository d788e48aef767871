"""What the page's tests share: one Chromium for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.browser.chromium import Chromium, chromium, missing


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    if reason := missing():
        pytest.skip(reason)
    with chromium() as started:
        yield started
