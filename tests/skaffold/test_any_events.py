"""Anything on Skaffold's stream becomes facts within bounds, or is skipped: decoder, fold, probes, records."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import pairwise

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.skaffold import hostile
from tests.skaffold.made import EPOCH, fold, history, meta, port
from tests.skaffold.peer import Port
from tests.skaffold.recorded import raw
from tests.skaffold.test_attachment import bench, replaying
from watcher.board.records import own_forward_record, skaffold_record
from watcher.skaffold.events import (
    Artifact,
    BuildMetadata,
    EventBody,
    EventDecoder,
    Metadata,
    MetaEvent,
    StatusCheckEvent,
    TargetPort,
)
from watcher.skaffold.http_request import ApiAddress
from watcher.skaffold.port_events import MOST_OWN_FORWARDS, PublishedState, due, own_forward
from watcher.skaffold.state import MOST_ARTIFACTS, MOST_NAMESPACES, SkaffoldFacts, SkaffoldState, apply
from watcher.skaffold.stream import Probes

NOW = datetime(2026, 11, 28, tzinfo=UTC)
LINES = list(hostile.lines())


def hear(decoder: EventDecoder, state: SkaffoldState, data: bytes) -> SkaffoldState:
    for event in decoder.feed(data):
        state = apply(state, event)
    return state


def check(facts: SkaffoldFacts) -> None:
    """Everybody who is told of them can use them."""
    assert len(facts.own_forwards) <= MOST_OWN_FORWARDS
    assert len(facts.namespaces) <= MOST_NAMESPACES
    assert len(facts.artifacts) <= MOST_ARTIFACTS
    for key, own in facts.own_forwards.items():
        assert own.key == key
        assert 0 < own.local_port < 65536
        assert msgspec.json.decode(msgspec.json.encode(own_forward_record(own, NOW)))
    record = skaffold_record("phase", facts, NOW)
    assert msgspec.json.decode(msgspec.json.encode(record))
    due(PublishedState(), facts.occasion, [])


def test_each_hostile_line_is_an_event_or_passed_over() -> None:
    """And the line after it is heard."""
    for line in LINES:
        decoder = EventDecoder()
        check(hear(decoder, SkaffoldState(), line + b"\n").facts)
        next_line = b'{"result":{"metaEvent":{"metadata":{"runID":"z"}}}}\n'
        assert hear(decoder, SkaffoldState(), next_line).facts.run_id == "z", line[:200]


def test_hostile_lines_one_after_the_other() -> None:
    """All of them together are within the bounds as well."""
    decoder, state = EventDecoder(), SkaffoldState()
    for line in LINES:
        state = hear(decoder, state, line + b"\n")
    check(state.facts)
    assert decoder.garbage > 100


@given(st.lists(st.sampled_from(LINES), max_size=5), st.lists(st.integers(0, 3000), max_size=6))
def test_hostile_lines_cut_anywhere_and_broken_off(lines: list[bytes], cuts: list[int]) -> None:
    """The last line has no end."""
    data = b"\n".join(lines)
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    decoder, state = EventDecoder(), SkaffoldState()
    for start, end in pairwise(edges):
        state = hear(decoder, state, data[start:end])
        check(state.facts)


VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.datetimes().map(str)
    | st.sampled_from(hostile.TIMES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
TEXT = st.sampled_from(["", "PortForward-1", "Deploy", "DevLoop", "PortForward", "Succeeded", "InProgress", "pod"])
FIELD = TEXT | st.integers(-1, 70_000) | VALUE


@st.composite
def an_event(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(sorted(hostile.BODIES)))
    body = {field: draw(FIELD) if draw(st.booleans()) else value for field, value in hostile.BODIES[kind].items()}
    return hostile._line({"timestamp": draw(st.sampled_from([hostile.GOOD, *hostile.TIMES])), kind: body})


@given(st.lists(an_event(), max_size=8))
def test_any_events_fold(lines: list[bytes]) -> None:
    """Any values in any fields, in any order."""
    decoder, state = EventDecoder(), SkaffoldState()
    for line in lines:
        state = hear(decoder, state, line + b"\n")
        check(state.facts)


async def test_the_attachment_goes_on(autojump_clock: MockClock) -> None:
    """Live, and in the replay of the next connection: a Skaffold whose log is full of this is attached to."""
    event = b'{"result":{"timestamp":"2026-11-29T00:00:00Z","metaEvent":{"metadata":{"runID":"after"}}}}'
    lines = [line for line in LINES if b'"9999-' not in line]  # Skaffold's own clock decides what is newer
    async with bench() as at_work:
        peer = await replaying(at_work, "dev-first")
        await at_work.until()
        await peer.say(*lines, event)
        await wait_all_tasks_blocked()
        assert at_work.attachment.facts.attached
        assert at_work.attachment.facts.run_id == "after"
        await peer.break_off()
        await at_work.until(attached=False)
        again = await at_work.port.accept()
        await again.replay(*raw("dev-first").splitlines(), *lines, event)
        assert (await at_work.until()).run_id == "after"


@pytest.mark.parametrize("number", [hostile.DIGITS, "2", "4", "²", "-1", "1e9", "999999999", ""])
async def test_a_forged_probe_is_none_of_ours(number: str) -> None:
    """Everybody who reads the stream sees our probes' name: one that was not posted yet has not come back."""
    port = Port(is_open=True)
    probes = Probes(port.dial, ApiAddress("127.0.0.1", 50051))
    await probes.post()
    forged = port.posts[0].replace(b"-1.", f"-{number}.".encode())
    assert forged != port.posts[0]
    probes.feed(forged)
    for _ in range(4):
        later = await probes.post()
        with trio.move_on_after(0) as now:
            await probes.returned(later)
        assert now.cancelled_caught


def test_many_own_forwards_cost_time_in_proportion() -> None:
    """7,000 different ones are heard in well under a second, and the first of them are kept."""
    events = history(*(port(f"web-{number}", 1 + number % 60_000) for number in range(7000)))
    before = time.process_time()
    own = fold(events).own_forwards
    assert time.process_time() - before < 2
    assert [key[1] for key in own] == [f"web-{number}" for number in range(MOST_OWN_FORWARDS)]


def test_a_full_house_still_hears_of_those_it_has() -> None:
    """Skaffold's own forwards are announced again at each deploy."""
    many = [port(f"web-{number}", 1 + number) for number in range(MOST_OWN_FORWARDS + 5)]
    own = fold(history(*many, port("web-3", 9999, iteration=2))).own_forwards
    assert len(own) == MOST_OWN_FORWARDS
    assert own["service", "web-3", "", 80].local_port == 9999


def test_what_nobody_needs_that_much_of() -> None:
    """Namespaces and artifacts have a bound; an id that no namespace can have names none."""
    checks: list[EventBody] = [StatusCheckEvent(f"ns-{number}:deployment/x") for number in range(3 * MOST_NAMESPACES)]
    assert len(fold(history(*checks)).namespaces) == MOST_NAMESPACES
    assert StatusCheckEvent("../../secrets:deployment/x").namespace == ""
    built = BuildMetadata(tuple(Artifact(str(number)) for number in range(3 * MOST_ARTIFACTS)))
    assert len(fold(history(MetaEvent(Metadata(run_id="a", build=built)))).artifacts) == MOST_ARTIFACTS


@pytest.mark.parametrize("digits", [1, 9, 10, 4300, 4301, 5000])
def test_the_number_of_a_loop(digits: int) -> None:
    """It is short: int() itself refuses more than 4,300 digits."""
    event = msgspec.structs.replace(port("web", 8080), task_id="PortForward-" + "9" * digits)
    assert (own_forward(event, EPOCH) is not None) == (digits <= 9)
    assert fold(history(event, meta("a"))).run_id == "a"


@pytest.mark.parametrize("target", [TargetPort(type=1, str_val="http"), TargetPort(type=7), None])
def test_any_target_port(target: TargetPort | None) -> None:
    """A number, a name, neither."""
    event = msgspec.structs.replace(port("web", 8080), target_port=target)
    check(fold(history(event)))
