"""A namespace for this suite, with one app to forward to."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from fixtures.cluster.bed import Bed
from tests.support.objects import apply, deployment, namespace, rolled_out, service


@pytest.fixture(scope="module")
def web(bed: Bed) -> Iterator[str]:
    """The namespace that has service `web`."""
    with namespace(bed, f"load-{secrets.token_hex(4)}") as name:
        apply(bed, name, deployment("web"), service("web"))
        rolled_out(bed, name, "web")
        yield name
