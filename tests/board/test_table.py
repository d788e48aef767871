"""The live table's picture at a moment: pure lines, whatever the width, the height and the texts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len

from forwarders.spec import Counts
from tests.board.made import forward, skaffold, skip
from watcher.board.board import Board
from watcher.board.layout import DROPPED_FIRST, Canvas, size
from watcher.board.records import Record
from watcher.board.table import LEAVING, TableView

ESCAPES = re.compile(r"\x1b(\[[0-9;]*m|\]8;;[^\x1b]*\x1b\\)")
WAITS = forward("api", "listening", reason="no pod of deployment/api is ready", pod="")


def view_of(*records: Record, now: float = 0.0) -> tuple[Board, TableView]:
    board = Board()
    board.counters = lambda: {
        forward().id: Counts(since=datetime.now(UTC), connections=2, connections_total=15, sent=1234, received=10**8)
    }
    for record in records:
        board.publish(record)
    view = TableView(board)
    view.take(records, now)
    return board, view


def frame(view: TableView, width: int = 150, height: int = 24, now: float = 5.0, *, colour: bool = True) -> list[str]:
    """As a reader sees it."""
    return bare(view.frame(Canvas(width, colour=colour), height, now))


def bare(lines: Iterable[str]) -> list[str]:
    return [ESCAPES.sub("", line).rstrip() for line in lines]


def columns(lines: list[str]) -> list[str]:
    heading = next(line for line in lines if line.startswith("NAME"))
    return re.split(r"  +", heading)


def test_everything_in_its_place() -> None:
    """Skaffold above, a row for each forward, trouble first, and what is skipped on one line below."""
    _, view = view_of(skaffold(phase="building", iteration=3), forward(), WAITS, skip(), skip("dns2"))
    assert frame(view) == [
        "Skaffold: building, iteration 3",
        "NAME          NAMESPACE  ADDRESS                STATE      POD     OPEN/TOTAL  BYTES OUT/IN  NOTE",
        "svc/api:8080  default    http://127.0.0.1:8080  listening                                    "
        "no pod of deployment/api is ready",
        "svc/web:8080  default    http://127.0.0.1:8080  ready      web-6c  2/15        1.2k/100M",
        "Not forwarded (2): svc/dns:53 and 1 more: port 53 is UDP, and Kubernetes forwards TCP only",
    ]


def test_a_name_stands_beside_the_address() -> None:
    """Address and name are links, in narrow terminals too; text from records cannot steer the terminal."""
    _, view = view_of(forward(gateway="http://web.localhost:8000"), WAITS)
    heading, _, row, *_ = frame(view)
    assert "BY NAME" in heading
    assert "  http://127.0.0.1:8080  web.localhost:8000  " in row
    assert "BY NAME" not in frame(view, width=70)[0]
    assert "\x1b]8;;http://web.localhost:8000\x1b\\" in view.frame(Canvas(70), 24, 5.0)[3]
    _, view = view_of(forward(gateway="http://\x1b]0;x\x07.localhost", url="http://\x1b[2J"))
    assert all("\x1b" not in line for line in frame(view))


def test_addresses_are_links_and_states_have_colours() -> None:
    """OSC 8, the same from picture to picture; without colour the links stay."""
    _, view = view_of(forward(), WAITS)
    line = view.frame(Canvas(150), 24, 5.0)[2]
    assert "\x1b]8;;http://127.0.0.1:8080\x1b\\" in line
    assert "\x1b[32mready" in line
    assert view.frame(Canvas(150), 24, 5.0)[2] == line
    plain = view.frame(Canvas(150, colour=False), 24, 5.0)[2]
    assert "\x1b]8;;http" in plain
    assert "\x1b[3" not in plain


def test_columns_go_in_the_stated_order() -> None:
    """Narrower and narrower: name, address and state are the last that are left."""
    _, view = view_of(
        forward(gateway="http://web.localhost:8000", context="here", via="pod"), replace(WAITS, context="far")
    )
    shown = [columns(frame(view, width)) for width in range(180, 45, -1)]
    lost = [column for wide, narrow in pairwise(shown) for column in wide if column not in narrow]
    assert tuple(lost) == ("NOTE", *DROPPED_FIRST)
    assert shown[-1] == ["NAME", "ADDRESS", "STATE"]


def test_a_column_that_tells_two_rows_apart_stays() -> None:
    """Two services of one name in two namespaces, then in two clusters; what all have in common may go."""
    twin = forward(namespace="shop", id="twin")
    _, view = view_of(forward(), twin)
    assert columns(frame(view, 50)) == ["NAME", "NAMESPACE", "ADDRESS", "STATE"]
    _, view = view_of(forward(context="here"), forward(context="far", id="twin"))
    assert columns(frame(view, 50)) == ["NAME", "CONTEXT", "ADDRESS", "STATE"]
    _, view = view_of(forward(), forward("api"))
    assert columns(frame(view, 50)) == ["NAME", "ADDRESS", "STATE"]


@pytest.mark.parametrize("width", [60, 80])
def test_a_reason_without_a_column_stands_below_its_row(width: int) -> None:
    """Whole, on a second line, and on a third if need be; wide terminals have a column for it."""
    reason = "pod web-6c of deployment/api is Running but not Ready: its readiness probe answers HTTP 503"
    _, view = view_of(forward(), forward("api", "listening", reason=reason, pod=""))
    lines = frame(view, width)
    assert lines[1].startswith("svc/api:8080")
    assert " ".join(line.strip() for line in lines[2:4]).startswith(reason[: width + 10])
    assert all(line.startswith("  ") for line in lines[2:4])
    assert lines[4].startswith("svc/web:8080")
    assert "default" in lines[1]
    assert reason in frame(view, 200)[1]
    endless = forward("api", "failed", reason="x" * 500, pod="")
    _, view = view_of(endless)
    assert frame(view, width)[-1].endswith("…")
    assert len(frame(view, width)) == 4


def test_types_are_kubectls_short_names() -> None:
    """What has none keeps its own."""
    kinds = {"deployment": "deploy/web:8080", "StatefulSet": "sts/web:8080", "pod": "pod/web:8080"}
    for kind, shown in {**kinds, "container": "container/web:8080"}.items():
        assert frame(view_of(forward(resource_type=kind))[1])[1].startswith(shown)


def test_trouble_comes_first() -> None:
    """What failed, what waits for longer than a moment, and then the rest in its order."""
    failed = forward("db", "failed", reason="port 5432 is taken", url="")
    _, view = view_of(forward(), forward("zoo"), WAITS, failed)
    names = [line.split(":")[0] for line in frame(view)[1:]]
    assert names == ["svc/db", "svc/api", "svc/web", "svc/zoo"]
    assert frame(view, now=0.5)[2].startswith("svc/web")


def test_a_short_wait_is_not_explained() -> None:
    """A reason is shown after a second, so that short waits do not flicker; `next_due` gives that time."""
    _, view = view_of(WAITS, now=1.0)
    assert "no pod" not in " ".join(frame(view, now=1.9))
    assert view.next_due(1.0) == 2.0
    assert "no pod" in " ".join(frame(view, now=2.0))
    view.take([forward("api", "listening", reason="web-1 is Pending")], 3.0)
    assert "web-1 is Pending" in " ".join(frame(view, now=3.0))  # the same wait


def test_what_has_stopped_leaves_after_a_moment() -> None:
    """With where it led; a failure keeps its reason, for that is what is read when all is over."""
    failed = forward("db", "failed", reason="port 5432 is taken", url="")
    _, view = view_of(forward(), failed)
    view.take([forward(state="stopped", url="", pod=""), forward("db", "stopped", url="")], 1.0)
    lines = frame(view, now=1.0 + LEAVING / 2)
    assert "http://127.0.0.1:8080  stopped" in lines[2]
    assert "failed" in lines[1]
    assert lines[1].endswith("port 5432 is taken")
    assert frame(view, now=1.0 + LEAVING) == ["nothing is forwarded"]


def test_more_rows_than_lines() -> None:
    """Those that lead somewhere are folded first; Skaffold and the skips keep their lines."""
    records = [forward(f"s{number}", id=str(number)) for number in range(30)]
    _, view = view_of(skaffold(), *records, WAITS, skip())
    lines = frame(view, height=10)
    assert len(lines) == 9
    assert lines[2].startswith("svc/api:8080")
    assert lines[-2] == "and 26 more: portside status shows all"
    for height in range(1, 10):
        assert len(frame(view, height=height)) <= max(height - 1, 1)


def test_skaffold_that_is_gone_or_failed() -> None:
    """The line of its phase says so."""
    board, view = view_of(skaffold(phase="idle", iteration=2, failed=True))
    assert frame(view)[0] == "Skaffold: idle, iteration 2, failed"
    board.publish(skaffold(change="lost", attached=False, reason="its event stream ended"))
    assert frame(view)[0] == "Skaffold: its event stream ended; forwards stay, waiting for it"


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0"), (999, "999"), (1000, "1.0k"), (9949, "9.9k"), (34_000_000, "34M"), (10**15, "1000T")]
)
def test_sizes(count: int, said: str) -> None:
    """At most five cells for any realistic number."""
    assert size(count) == said


@given(st.text(), st.integers(1, 200), st.integers(1, 30))
def test_no_text_tears_the_table(text: str, width: int, height: int) -> None:
    """With any text no line is too wide, there are not too many lines, and only our own escapes."""
    _, view = view_of(
        skaffold(phase=text),
        forward(pod=text, reason=text),
        forward("b", "failed", reason=text, url="", id=text),
        skip(reason=text),
    )
    lines = view.frame(Canvas(width), height, 5.0)
    assert len(lines) <= max(height - 1, 1)
    for line in bare(lines):
        assert cell_len(line) <= width
        assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in line)
