"""Servers that start at the same time: the first that is ready is reported, and one that fails is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.cluster.errors import BrokenError
from fixtures.cluster.processes import Component, Server, wait_for_any


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Component]]:
    """Starts a component, and stops it after the test."""
    servers = []

    def start(name: str, *argv: str, ready: bool = False, start_seconds: float = 30.0) -> Component:
        server = Server(name, argv, tmp_path / f"{name}.log", tmp_path / f"{name}.json")
        servers.append(server)
        server.start()
        return Component(server, lambda: ready, start_seconds=start_seconds)

    yield start
    for server in servers:
        server.stop(0)


def test_the_first_that_is_ready_is_told(started: Callable[..., Component]) -> None:
    """A slow one does not delay the others."""
    now = time.monotonic()
    starting = {
        "slow": (started("slow", "sleep", "60"), now),
        "quick": (started("quick", "sleep", "60", ready=True), now),
    }
    assert wait_for_any(starting) == "quick"


def test_one_that_dies_names_itself(started: Callable[..., Component]) -> None:
    """At once, with the last lines of its log."""
    dying = started("dying", "sh", "-c", "echo no such flag; exit 1")
    with pytest.raises(BrokenError) as caught:
        wait_for_any({"dying": (dying, time.monotonic())})
    assert "start dying" in str(caught.value)
    assert "no such flag" in caught.value.report()


def test_one_that_is_never_ready_names_itself(started: Callable[..., Component]) -> None:
    """After its time limit."""
    with pytest.raises(BrokenError, match="start late"):
        wait_for_any({"late": (started("late", "sleep", "60", start_seconds=0.0), time.monotonic())})
