"""The table of beds: each bed is a column, each suite a row, and a suite that did not run never counts as passed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fixtures.cluster import table
from fixtures.cluster.versions import NAMES


def noted(folder: Path, bed: str, **suites: dict[str, int]) -> Path:
    file = folder / f"{bed}.json"
    file.write_text(json.dumps({"bed": bed, "suites": suites}))
    return file


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "page.md"
    found.write_text(f"before\n{table.BEGIN}old\n{table.END}behind\n")
    monkeypatch.setattr(table, "DOCS", found)
    return found


def test_a_cell_for_each_bed(tmp_path: Path, page: Path) -> None:
    """Passed, failed as known, failed. The text around the table stays, and the same results compare equal."""
    results = [noted(tmp_path, name, suite={"passed": 1}, other={"passed": 2, "gap": 1}) for name in NAMES[:-1]]
    results.append(noted(tmp_path, NAMES[-1], suite={"passed": 1, "failed": 1}, other={"passed": 3}))
    words = [str(path) for path in results]
    assert table.main(words) == 1
    assert table.main(["--write", *words]) == 0
    assert table.main(words) == 0
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "behind")
    assert "| other | **known gap** | **known gap** | holds |" in lines
    assert "| suite | holds | holds | **fails** |" in lines


def test_what_did_not_run_is_not_written(tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If a bed is missing or its tests were skipped, the page stays as it is."""
    before = page.read_text()
    results = [noted(tmp_path, name, suite={"passed": 1}) for name in NAMES[:-1]]
    words = [str(path) for path in results]
    assert table.main(words) == 0
    assert table.main(["--write", *words, str(noted(tmp_path, NAMES[-1], suite={"skipped": 2}))]) == 1
    assert page.read_text() == before
    assert "not run" in capsys.readouterr().err
