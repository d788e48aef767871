"""What all tests share: the real bed for those marked `cluster` or `skaffold`, a browser, and when a skip is allowed.

Owns no fixture of one room. In CI (`CI` set) a skip is a failure: a machine that cannot run a test has not passed it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from fixtures.cluster import missing
from fixtures.cluster.errors import MissingError
from tests.support import beds, leftovers, limits

if TYPE_CHECKING:
    from fixtures.browser.chromium import Chromium
    from fixtures.cluster.bed import Bed

# The machine is shared and slow at times: an example that takes long says nothing about the code.
settings.register_profile("portside", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("portside")

# Seconds for a test. Every other test has the limit in pyproject.toml, unless its own mark says otherwise.
_WITH_BED = 600
_LONG = 3 * 3600


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(beds)
    config.pluginmanager.register(limits)
    config.pluginmanager.register(leftovers)
    os.environ.setdefault("PORTSIDE_DIRECT", "never")  # as fixtures.cluster.bed.exports
    _give_children_usual_signals()


def _give_children_usual_signals() -> None:
    """A signal that this process ignores (nohup, a background job), its children ignore; one that it catches, not.

    So what was ignored is caught, to no effect (execve(2)).
    """
    if sys.platform == "win32":
        return
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the suites that take minutes to hours too")
    beds.add_options(parser)


@pytest.hookimpl(trylast=True)  # after pytest-trio's, whose marks are looked at
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long suites are left out, not skipped; what needs the real bed runs last, when everything quick has passed."""
    if not config.getoption("--long"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    for item in items:
        _limit(item)
        beds.prepare(item)
    items.sort(key=_needs_bed)


def _limit(item: pytest.Item) -> None:
    """The item's time limit, and the way to cancel it when its time is over."""
    if item.get_closest_marker("trio"):
        item.add_marker(pytest.mark.trio(run=limits.run), append=False)
    if not item.get_closest_marker("timeout"):
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.timeout(_LONG))
        elif _needs_bed(item):
            item.add_marker(pytest.mark.timeout(_WITH_BED))


def _needs_bed(item: pytest.Item) -> bool:
    return item.get_closest_marker("cluster") is not None or item.get_closest_marker("skaffold") is not None


def pytest_runtest_setup(item: pytest.Item) -> None:
    if _needs_bed(item) and (reason := missing()):
        pytest.skip(reason)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped") and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _is_up() -> bool:
    from fixtures.cluster.bed import load  # noqa: PLC0415 - for Linux alone, as below

    try:
        load()
    except MissingError:
        return False
    return True


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    """The real cluster, up; taken down afterwards if it was down before."""
    # Imported here: the bed's life needs root and Linux, its tests alone do.
    from fixtures.cluster import lifecycle  # noqa: PLC0415
    from fixtures.cluster.__main__ import say  # noqa: PLC0415

    was_up = _is_up()
    with limits.unlimited():  # the first time it is built
        started = lifecycle.up(say)
    yield started
    if not was_up:
        with limits.unlimited():
            lifecycle.down(say)


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    """One Chromium for all tests that look at the page."""
    # Imported here: Playwright takes a while, and most tests look at no page.
    from fixtures.browser.chromium import chromium, missing  # noqa: PLC0415 - as above

    if reason := missing():
        pytest.skip(reason)
    with chromium() as started:
        yield started
