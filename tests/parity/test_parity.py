"""portside beside Skaffold's own forwarding: no row is worse, in the recording and live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from fixtures.cluster.bed import Bed
from fixtures.parity import compare, rows
from fixtures.parity.__main__ import DOCS, entries, outcomes, rendered
from fixtures.parity.record import Run, project, row
from fixtures.parity.rows import Forward, Outcome, Recording
from tests.support.probe import get
from tests.support.process import Portside, Record, portside

# Every mode, every command and every kind of thing at least once.
LIVE = [
    "dev --port-forward",
    "dev --port-forward=pods,services",
    "debug",
    "debug --port-forward=pods",
    "run --port-forward=user",
    "deploy --port-forward=services",
]


@pytest.fixture(scope="module")
def recording() -> Recording:
    return rows.load()


@pytest.fixture(scope="module")
def own(recording: Recording) -> dict[str, Outcome]:
    return outcomes(recording)


@pytest.mark.parametrize("name", rows.names())
def test_no_row_is_worse(recording: Recording, own: dict[str, Outcome], name: str) -> None:
    """What Skaffold forwards is forwarded, at the same port, and what it refuses is refused."""
    kind, reason = compare.verdict(recording.outcomes[name], own[name])
    assert kind in {compare.SAME, compare.BETTER}, reason


def test_no_entry_is_worse(recording: Recording) -> None:
    """Of every type, and asked for in every way; what cannot work says why."""
    found = entries(recording)
    assert [(entry.name, entry.verdict) for entry in found if entry.verdict[0] == compare.WORSE] == []
    assert len(found) == 21


def test_the_table_in_the_docs_is_this_one(recording: Recording) -> None:
    """scripts/parity --table writes it."""
    assert DOCS.read_text() == rendered(recording)


def test_a_difference_is_seen() -> None:
    """What is not forwarded, elsewhere, dead, or not refused, is worse."""
    theirs = Outcome(stays=True, forwards=(Forward("service/web", 80, 4503),))
    assert compare.verdict(theirs, theirs) == (compare.SAME, "")
    for ours in (
        Outcome(stays=True),
        Outcome(stays=False, forwards=theirs.forwards),
        Outcome(stays=True, forwards=(Forward("service/web", 80, 4504),)),
        Outcome(stays=True, forwards=(Forward("service/web", 80, 4503, served=False),)),
        Outcome(refused=True),
    ):
        assert compare.verdict(theirs, ours)[0] == compare.WORSE


@pytest.fixture
def place(bed: Bed) -> Iterator[tuple[Path, dict[str, str]]]:
    with project(bed) as made:
        yield made


@pytest.mark.skaffold
@pytest.mark.parametrize("name", LIVE)
async def test_both_sides_live(bed: Bed, place: tuple[Path, dict[str, str]], name: str) -> None:
    """Skaffold's own forwarding first, then portside's, of the same project on the same cluster."""
    folder, environment = place
    command, _, flag = name.partition(" ")
    theirs, _ = await trio.to_thread.run_sync(row, bed, command, flag, folder, environment)
    assert theirs.forwards
    words = ["skaffold", command, "-n", "parity", *flag.split()]
    words += ["--build-artifacts=build.json"] if command == "deploy" else []
    async with portside("run", "-v", "--", *words, environment=environment, folder=folder, session=True) as running:
        wanted = len(theirs.forwards)
        await running.wait_for(lambda _: _ready(running) >= wanted, 90)
        ours = Outcome(stays=True, forwards=tuple(sorted([await _shown(record) for record in running.forwards])))
        kind, reason = compare.verdict(theirs, ours)
        assert kind in {compare.SAME, compare.BETTER}, (reason, theirs, ours)


def _ready(running: Portside) -> int:
    return sum(record["state"] == "ready" for record in running.forwards)


async def _shown(record: Record) -> Forward:
    of_pods = record["source"] in {"pods", "debug"}
    name = f"pod/{record['resourceName']}-*" if of_pods else f"{record['resourceType']}/{record['resourceName']}"
    served = record["remotePort"] == 5005 or (await get(record["localPort"], "/"))[0] == 200
    return Forward(name, record["remotePort"], record["localPort"], served)


def test_a_run_tells_what_it_said(tmp_path: Path) -> None:
    """The recorder's own reader: lines as they come, and the end."""
    run = Run(["sh", "-c", "echo one; echo two"], tmp_path, {"PATH": "/usr/bin:/bin"})
    assert not run.wait()
    run.end()
    assert run.text == "one\ntwo\n"
