"""/metrics: the table, the values, the text as Prometheus' own parser reads it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from forwarders.spec import Counts
from tests.board.made import forward, plan, skip
from tests.status.made import served
from watcher.board.board import Board
from watcher.board.http.metrics import FORWARD, METRICS

COUNTS = Counts(
    since=datetime(2026, 11, 23, tzinfo=UTC), connections=2, connections_total=7, held=1, sent=10, received=20, errors=3
)


@pytest.fixture
def board() -> Board:
    board = Board()
    board.counters = lambda: {forward().id: COUNTS}
    board.sessions = lambda: 4
    board.publish(plan())
    board.publish(forward())
    board.publish(forward("theirs", "listening", id="theirs", source="skaffold"))
    board.publish(skip())
    return board


async def samples(board: Board, accept: str = "") -> dict[tuple[str, str, str], float]:
    """Value by metric, resource (or state) and direction."""
    async with served(board) as client:
        answer = await client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = sample.labels
            key = sample.name, labels.get("resource_name", labels.get("state", "")), labels.get("direction", "")
            assert key not in found
            found[key] = sample.value
    return found


async def test_the_values_are_the_boards(board: Board) -> None:
    """A forward's own, what is counted over all, and nothing counted for a port that others hold."""
    found = await samples(board)
    wanted = {
        ("portside_settled", "", ""): 1,
        ("portside_ready", "", ""): 0,
        ("portside_forwards", "ready", ""): 1,
        ("portside_forwards", "listening", ""): 1,
        ("portside_forwards", "failed", ""): 0,
        ("portside_skipped", "", ""): 1,
        ("portside_sessions", "", ""): 4,
        ("portside_event_readers", "", ""): 0,
        ("portside_forward_ready", "web", ""): 1,
        ("portside_forward_ready", "theirs", ""): 0,
        ("portside_forward_start_time_seconds", "web", ""): COUNTS.since.timestamp(),
        ("portside_forward_connections", "web", ""): 2,
        ("portside_forward_connections_held", "web", ""): 1,
        ("portside_forward_connections_total", "web", ""): 7,
        ("portside_forward_errors_total", "web", ""): 3,
        ("portside_forward_bytes_total", "web", "sent"): 10,
        ("portside_forward_bytes_total", "web", "received"): 20,
    }
    assert {key: found[key] for key in wanted} == wanted
    assert not [key for key in found if key[1] == "theirs" and key[0] != "portside_forward_ready"]


async def test_every_metric_of_the_table_is_there_and_no_other(board: Board) -> None:
    """The reference is made from the table: what it names is what is answered, the process' own aside."""
    names = {name for name, _, _ in await samples(board) if not name.startswith("process_")}
    assert names == {metric.name for metric in METRICS}


def test_names_are_prometheus_own() -> None:
    """snake_case, one prefix, counters end in _total, gauges do not, units are base units."""
    for metric in METRICS:
        assert re.fullmatch(r"portside_[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.help.endswith(".")


async def test_nothing_of_a_cluster_breaks_the_text() -> None:
    """Quotes, backslashes and line ends in names are escaped."""
    name = 'a"} 1\n\\portside_ready 7'
    board = Board()
    board.publish(forward(name))
    found = await samples(board)
    assert found["portside_forward_ready", name, ""] == 1
    assert found["portside_ready", "", ""] == 0


def test_a_forwards_labels_are_fields_of_its_record() -> None:
    """What is a label is in the JSON too."""
    for label in FORWARD:
        assert hasattr(forward(), label)
