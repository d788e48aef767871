"""The supply of file descriptors: as many as the system gives, and the last ones for sessions."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from forwarders.system import files


@contextmanager
def limited(soft: int) -> Iterator[None]:
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def lowest_free() -> int:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


def test_the_soft_limit_is_raised_to_what_the_system_allows() -> None:
    """1,024 become the hard limit, or what is enough."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with limited(512):
        files.raise_descriptor_limit()
        raised, kept = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert (raised, kept) == (min(hard, files.ENOUGH) if hard > 0 else files.ENOUGH, hard)


def test_a_limit_that_is_high_enough_is_left_alone() -> None:
    """Nothing is lowered."""
    files.raise_descriptor_limit()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    files.raise_descriptor_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_the_last_ones_are_known_before_they_are_used() -> None:
    """Descriptors are scarce while few are left or none, and no longer once more are free."""
    lowest = lowest_free()
    assert not files.descriptors_are_scarce()
    with limited(lowest + 1):
        assert files.descriptors_are_scarce()
        assert files.is_reserved(lowest)
    with limited(lowest):
        assert files.descriptors_are_scarce()
    assert not files.descriptors_are_scarce()
