"""The real bed for the tests of the bed itself: brought up once, left up for the tests after them."""

import pytest

from fixtures.cluster import missing
from fixtures.cluster.__main__ import say
from fixtures.cluster.bed import Bed
from fixtures.cluster.lifecycle import up


@pytest.fixture(scope="session")
def bed() -> Bed:
    """The bed, up; a skip with the reason where this machine cannot have one."""
    if reason := missing():
        pytest.skip(reason)
    return up(say)
