"""Chooses the bed of this run, and records the results of the suites that every bed has to pass.

`--bed NAME` chooses it. `--results FILE` writes a line of the table in docs/compatibility.md for each suite that is
marked `every_bed`; scripts/bed-table joins the beds' files.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from fixtures.cluster.versions import NAMES, VARIABLE, chosen_name

_PROPERTY = "every_bed"
_counts: dict[str, Counter[str]] = {}


def add_options(parser: pytest.Parser) -> None:
    parser.addoption("--bed", choices=NAMES, help=f"the real cluster to run on (default: ${VARIABLE})")
    parser.addoption("--results", type=Path, help="write the results of the suites that every bed has to pass")


def pytest_configure(config: pytest.Config) -> None:
    if chosen := config.getoption("--bed"):
        os.environ[VARIABLE] = chosen  # children use the same bed


def prepare(item: pytest.Item) -> None:
    """Store the item's line of the table, and the known gap on this bed."""
    if marker := item.get_closest_marker("every_bed"):
        item.user_properties.append((_PROPERTY, marker.args[0]))
    for marker in item.iter_markers("gap"):
        bed, reason = marker.args
        if bed == chosen_name():
            item.add_marker(pytest.mark.xfail(reason=reason, strict=False))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    suite = dict(report.user_properties).get(_PROPERTY)
    if suite is not None and (report.when == "call" or not report.passed):
        gap = hasattr(report, "wasxfail")  # whether it failed this time or not
        _counts.setdefault(str(suite), Counter())["gap" if gap else report.outcome] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    if target := session.config.getoption("--results"):
        target.write_text(json.dumps({"bed": chosen_name(), "suites": _counts}, indent=1))
