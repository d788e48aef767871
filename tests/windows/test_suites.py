"""Runs the unit suites that use the platform, in a real CPython for Windows under Wine."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from fixtures.wine.install import ROOT, Windows
from tests.windows.selection import AT_LEAST, POSIX_MODULES, POSIX_TESTS, SUITES

# Seconds; three to four minutes on two idle cores.
LIMIT = 1500


@pytest.mark.timeout(LIMIT + 60)
def test_the_unit_suites_pass_on_windows(windows: Windows, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing fails, and no suite is missing; the selection names the tests that only POSIX can run."""
    ignored = [f"--ignore={module}" for module in POSIX_MODULES]
    deselected = [f"--deselect={test}" for test in POSIX_TESTS]
    words = ["-q", "-p", "no:cacheprovider", "--tb=short", "-m", "not hypothesis and not cluster and not skaffold"]
    environment = {name: value for name, value in windows.environment().items() if name != "CI"}
    # Standard streams must be pipes.
    done = subprocess.run(
        [*windows.command, "-m", "pytest", *words, *ignored, *deselected, *SUITES],
        cwd=ROOT,
        input=b"",
        capture_output=True,
        env=environment | {"COLUMNS": os.environ.get("COLUMNS", "120")},
        timeout=LIMIT,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    with capsys.disabled():
        sys.stdout.write(f"\non Windows: {(said.strip().splitlines() or ['nothing'])[-1]}\n")
    assert done.returncode == 0, said[-20_000:] + done.stderr.decode(errors="replace")[-5_000:]
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None
    assert int(passed[1]) >= AT_LEAST
