"""portside beside Skaffold's own forwarding: no row is worse, in the recording and live."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from fixtures.cluster.bed import Bed
from fixtures.parity import compare, ours, rows
from fixtures.parity.__main__ import DOCS, entries, outcomes, rendered
from fixtures.parity.record import Run, project, row
from fixtures.parity.rows import Forward, Outcome, Recording
from tests.support.probe import get
from tests.support.process import Portside, Record, portside

EVERY_BED = pytest.mark.every_bed("Skaffold's own forwarding, row by row")
# Every mode, command and kind of object at least once; on every bed a command that stays and one that ends.
LIVE = [
    pytest.param("dev --port-forward", marks=EVERY_BED),
    "dev --port-forward=pods,services",
    "debug",
    "debug --port-forward=pods",
    pytest.param("run --port-forward=user", marks=EVERY_BED),
    "deploy --port-forward=services",
]

# A port that no row uses.
ANOTHER = Forward("service/another", 80, 7777)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return rows.load()


@pytest.fixture(scope="module")
def own(recording: Recording) -> dict[str, Outcome]:
    return outcomes(recording)


ROWS = pytest.mark.parametrize(
    ("command", "flag"), list(itertools.product(rows.COMMANDS, rows.FLAGS)), ids=rows.names()
)
FILES = pytest.mark.parametrize("file", rows.ENTRIES)


@ROWS
def test_no_row_is_worse(recording: Recording, own: dict[str, Outcome], command: str, flag: str) -> None:
    """What Skaffold forwards is forwarded at the same port, and nothing else; what it refuses is refused."""
    kind, reason = compare.verdict(recording, command, flag, own[rows.named(command, flag)])
    assert kind in {compare.SAME, compare.BETTER}, reason


@FILES
def test_no_entry_is_worse(recording: Recording, file: str) -> None:
    """Entries of every type, written in every way; one that cannot work has a reason."""
    found = entries(file, recording)
    assert found
    assert [(entry.name, entry.verdict) for entry in found if entry.verdict[0] == compare.WORSE] == []


def test_every_name_is_used(recording: Recording) -> None:
    """Every listed difference exists; an unused one could hide another difference."""
    better = {
        (file, entry.name)
        for file in rows.ENTRIES
        for entry in entries(file, recording)
        if entry.verdict[0] == compare.BETTER
    }
    assert better == compare.NAMED.keys()


def test_the_table_in_the_docs_is_this_one(recording: Recording) -> None:
    """scripts/parity --table writes it."""
    assert DOCS.read_text() == rendered(recording)


def mutated(outcome: Outcome) -> Iterator[Outcome]:
    """Every other outcome: refused instead of accepted, ended, a forward less, more, elsewhere or dead."""
    if outcome.refused:
        yield Outcome(stays=True)
        yield Outcome(stays=True, forwards=(ANOTHER,))
        return
    yield Outcome(refused=True)
    yield replace(outcome, stays=not outcome.stays)
    yield replace(outcome, forwards=(*outcome.forwards, ANOTHER))
    for at, forward in enumerate(outcome.forwards):
        before, after = outcome.forwards[:at], outcome.forwards[at + 1 :]
        yield replace(outcome, forwards=before + after)
        for other in (
            replace(forward, local_port=forward.local_port + 1),
            replace(forward, served=False),
            replace(forward, address="127.0.0.3"),
        ):
            if other != forward:
                yield replace(outcome, forwards=(*before, other, *after))


@ROWS
def test_whatever_else_portside_did_would_be_worse(
    recording: Recording, own: dict[str, Outcome], command: str, flag: str
) -> None:
    """In every row, better ones included: the comparison accepts only what portside does."""
    for other in mutated(own[rows.named(command, flag)]):
        assert compare.verdict(recording, command, flag, other)[0] == compare.WORSE, other


@FILES
def test_whatever_else_became_of_an_entry_would_be_worse(recording: Recording, file: str) -> None:
    """Not forwarded, dead, elsewhere, missing, or an extra one."""
    outcome, plan = ours.entries(file, recording)
    theirs = recording.outcomes[file]
    for other in mutated(outcome):
        if other.refused or not other.stays:
            continue  # each file is one that both take
        dead = {one for one in outcome.forwards if not one.served}
        if dead - set(other.forwards):
            continue  # what serves nobody may be elsewhere
        verdicts = [entry.verdict[0] for entry in compare.entries(file, theirs, other, plan)]
        assert compare.WORSE in verdicts, other


@pytest.fixture
def place(bed: Bed) -> Iterator[tuple[Path, dict[str, str]]]:
    with project(bed) as made:
        yield made


@pytest.mark.skaffold
@pytest.mark.parametrize("name", LIVE)
async def test_both_sides_live(bed: Bed, recording: Recording, place: tuple[Path, dict[str, str]], name: str) -> None:
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
        found = [await _shown(record) for record in running.forwards]
        live = Outcome(stays=True, forwards=tuple(sorted(found, key=str)))
        now = replace(recording, outcomes=recording.outcomes | {name: theirs})
        assert compare.verdict(now, command, flag, live) == (compare.SAME, ""), (theirs, live)


def _ready(running: Portside) -> int:
    return sum(record["state"] == "ready" for record in running.forwards)


async def _shown(record: Record) -> Forward:
    of_pods = record["source"] in {"pods", "debug"}
    name = f"pod/{record['resourceName']}-*" if of_pods else f"{record['resourceType']}/{record['resourceName']}"
    served = record["remotePort"] == 5005 or (await get(record["localPort"], "/"))[0] == 200
    return Forward(name, record["remotePort"], record["localPort"], served)


def test_a_run_tells_what_it_said(tmp_path: Path) -> None:
    """The recorder's reader: lines as they arrive, and the end."""
    run = Run(["sh", "-c", "echo one; echo two"], tmp_path, {"PATH": "/usr/bin:/bin"})
    assert not run.wait()
    run.end()
    assert run.text == "one\ntwo\n"
