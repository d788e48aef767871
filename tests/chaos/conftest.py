"""The apps under chaos, repairs after each test, and the lines in the report."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from fixtures.cluster.bed import Bed
from tests.chaos import report
from tests.chaos.scene import APPS, ECHO
from tests.support.objects import Manifest, apply, deployment, namespace, rolled_out

# The app needs some 10 MB; what `POST /eat` takes is far above.
MEMORY = "200Mi"


@pytest.fixture(scope="session")
def space(bed: Bed) -> Iterator[str]:
    """The namespace of the apps."""
    with namespace(bed, f"chaos-{secrets.token_hex(4)}") as name:
        apply(bed, name, *(app(each) for each in APPS))
        rolled_out(bed, name, *APPS)
        yield name


def app(name: str) -> Manifest:
    manifest = deployment(name, ECHO_PORT=str(ECHO))
    manifest["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"memory": MEMORY}}
    return manifest


@pytest.fixture(autouse=True)
def mended(bed: Bed, space: str) -> Iterator[None]:
    """After each test, however it ended, the bed and the apps are healthy again, since other tests share them."""
    from fixtures.cluster import lifecycle  # noqa: PLC0415 - needs root and Linux
    from fixtures.cluster.__main__ import say  # noqa: PLC0415

    yield
    lifecycle.up(say)
    rolled_out(bed, space, *APPS)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if report.LINES:
        terminalreporter.section("chaos")
        for line in report.LINES:
            terminalreporter.write_line(line)
