"""docs/status-http.md against the code: what it names is what is answered."""

from __future__ import annotations

from pathlib import Path

from fixtures.reference.metrics import title
from watcher.board.board import Board
from watcher.board.http.metrics import METRICS
from watcher.board.http.routes import Routes

REFERENCE = Path(__file__).parents[2] / "docs" / "status-http.md"


def test_every_metric_stands_there_as_it_is() -> None:
    """Name, own labels, type and text, a row each, in order."""
    rows = [line for line in REFERENCE.read_text().splitlines() if line.startswith("| `portside_")]
    assert rows == [f"| `{title(metric)}` | {metric.kind} | {metric.help} |" for metric in METRICS]


def test_every_path_stands_there() -> None:
    """And a path of the table is one that is answered."""
    named = {
        line.split("`")[1].partition("?")[0] for line in REFERENCE.read_text().splitlines() if line.startswith("| `/")
    }
    assert named == {*Routes(Board()).paths, "/"}
