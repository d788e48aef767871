"""The decoder against recorded streams, cut in every way, and against hostile bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.skaffold.recorded import NAMES, events, raw
from watcher.skaffold.events import (
    Artifact,
    EventDecoder,
    MetaEvent,
    PortEvent,
    SkaffoldEvent,
    StatusCheckEvent,
    TaskEvent,
)

SMALL = 2000


def decode(data: bytes) -> list[SkaffoldEvent]:
    return EventDecoder().feed(data)


def pieces(decoder: EventDecoder, parts: list[bytes]) -> list[SkaffoldEvent]:
    return [event for part in parts for event in decoder.feed(part)]


WANTED = ("taskEvent", "portEvent", "metaEvent", "statusCheckSubtaskEvent")


def said(decoded: object, sent: object) -> object:
    """`sent` cut down to the fields that `decoded` has, in its shape."""
    if isinstance(decoded, dict):
        assert isinstance(sent, dict)
        return {key: said(value, sent.get(key)) for key, value in decoded.items()}
    if isinstance(decoded, list):
        assert isinstance(sent, list)
        return [said(one, other) for one, other in zip(decoded, sent, strict=True)]
    return sent


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_event_is_decoded_without_loss(name: str) -> None:
    """Every line that has one of the wanted events becomes one event, with every field as Skaffold sent it."""
    lines = [json.loads(line)["result"] for line in raw(name).splitlines() if line]
    sent = [
        (line["timestamp"], next(line[key] for key in WANTED if line.get(key))) for line in lines if _is_wanted(line)
    ]
    decoder = EventDecoder()
    events = decoder.feed(raw(name))
    assert decoder.garbage == 0
    for event, (timestamp, body) in zip(events, sent, strict=True):
        decoded = json.loads(msgspec.json.encode(event.body))
        assert decoded == said(decoded, body)
        assert event.at == msgspec.convert(timestamp, datetime)


def _is_wanted(line: dict[str, object]) -> bool:
    return any(line.get(key) for key in WANTED)


@pytest.mark.parametrize("name", NAMES)
def test_byte_by_byte(name: str) -> None:
    """A stream that comes in single bytes gives the same events."""
    assert pieces(EventDecoder(), [bytes([byte]) for byte in raw(name)]) == events(name)


@given(st.sampled_from(NAMES), st.lists(st.integers(0, 40_000), max_size=20))
def test_cut_anywhere(name: str, cuts: list[int]) -> None:
    """Cuts at any places change nothing."""
    data = raw(name)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert pieces(EventDecoder(), [data[a:b] for a, b in pairwise(edges)]) == events(name)


@given(st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=6))
def test_any_bytes_then_a_good_line(junk: bytes, cuts: list[int]) -> None:
    """Whatever came before, the line after the next newline is understood, however it was cut."""
    data = junk + b'\n{"result":{"taskEvent":{"task":"Build","iteration":7,"status":"Failed"}}}\n'
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    got = pieces(EventDecoder(), [data[a:b] for a, b in pairwise(edges)])
    assert got[-1].body == TaskEvent("Build", "Failed", 7)
    assert got == decode(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "result",
                        "error",
                        "taskEvent",
                        "metaEvent",
                        "metadata",
                        "runID",
                        "portEvent",
                        "targetPort",
                        "code",
                    ]
                ),
                x,
            )
        ),
    )
)
def test_any_json_is_survived(value: object) -> None:
    """JSON of any shape, with Skaffold's own keys in wrong places, is an event or is passed over."""
    decoder = EventDecoder()
    got = decoder.feed(json.dumps(value).encode() + b"\n")
    assert len(got) + decoder.garbage <= 1


@pytest.mark.parametrize(
    "line",
    [
        b'{"result":{"timestamp":"2026-11-23T23:11:32Z"}}',
        b'{"result":{"timestamp":"2026-11-23T23:11:32Z","taskEvent":null,"metaEvent":null}}',
        b'{"result":{"timestamp":"2026-11-23T23:11:32Z","fileSyncEvent":{"status":"Succeeded"}}}',
        b'{"result":{"skaffoldLogEvent":{"message":"hush"}}}',
        b'{"result":null}',
        b"{}",
        b"",
        b"  \r",
    ],
)
def test_empty_and_unknown_events_pass(line: bytes) -> None:
    """Events without a type, of unknown type, log lines and blank lines give nothing and are no garbage."""
    decoder = EventDecoder()
    assert decoder.feed(line + b"\n") == []
    assert decoder.garbage == 0


@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b'{"result":',
        b"[1]",
        b'{"result":{"taskEvent":{"task":"\xff"}}}',
        b'{"result":{"taskEvent":{"iteration":"one"}}}',
        b'{"result":{"timestamp":"yesterday","taskEvent":{}}}',
        b'{"x":' + b"[" * 100_000,
    ],
)
def test_garbage_is_counted_and_passed_over(line: bytes) -> None:
    """A line that is no event's JSON is counted, and the next one is read."""
    decoder = EventDecoder()
    got = decoder.feed(line + b'\n{"result":{"taskEvent":{"task":"Test"}}}\n')
    assert [event.body for event in got] == [TaskEvent("Test")]
    assert decoder.garbage == 1


@given(st.integers(SMALL - 60, SMALL * 3), st.lists(st.integers(0, SMALL * 3), max_size=5))
def test_too_long_a_line_is_skipped_up_to_its_newline(size: int, cuts: list[int]) -> None:
    """Whether a line is too long depends on its length alone, not on how it was cut; what follows is read."""
    head, end = b'{"result":{"taskEvent":{"description":"', b'"}}}'
    line = head + b"x" * (size - len(head) - len(end)) + end
    data = line + b'\n{"result":{"taskEvent":{"task":"Next"}}}\n'
    edges = [0, *sorted(cuts), len(data)]
    decoder = EventDecoder(max_line=SMALL)
    got = pieces(decoder, [data[a:b] for a, b in pairwise(edges)])
    assert len(got) == (2 if size <= SMALL else 1)
    assert decoder.garbage == (0 if size <= SMALL else 1)


@pytest.mark.parametrize("digits", range(10))
def test_fraction_of_a_second(digits: int) -> None:
    """A timestamp may have no fraction or one of 1 to 9 digits; the time is kept to the microsecond."""
    fraction = "123456789"[:digits]
    text = "2026-11-23T23:11:32" + (f".{fraction}" if digits else "") + "Z"
    [event] = decode(f'{{"result":{{"timestamp":"{text}","taskEvent":{{}}}}}}\n'.encode())
    assert event.at is not None
    exact = datetime(2026, 11, 23, 23, 11, 32, int(fraction[:6].ljust(6, "0")), tzinfo=UTC)
    assert abs((event.at - exact).total_seconds()) <= 1e-6


def test_spacing_does_not_matter() -> None:
    """protojson varies its spacing between builds on purpose."""
    tight = b'{"result":{"taskEvent":{"task":"Build","status":"Succeeded"}}}\n'
    assert decode(tight.replace(b":", b":  ").replace(b",", b" , ")) == decode(tight)


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ('{"type":0,"intVal":8080,"strVal":""}', 8080),
        ('{"type":1,"intVal":0,"strVal":"http"}', "http"),
        ('{"intVal":80}', 80),
    ],
)
def test_target_port_is_a_number_or_a_name(target: str, value: int | str) -> None:
    """Kubernetes' IntOrString keeps its kind."""
    [event] = decode(f'{{"result":{{"portEvent":{{"targetPort":{target}}}}}}}\n'.encode())
    assert isinstance(event.body, PortEvent)
    assert event.body.target_port is not None
    assert event.body.target_port.value == value


def test_meta_event_fields() -> None:
    """The run id and the artifacts are taken from metadata."""
    body = events("dev-first")[0].body
    assert isinstance(body, MetaEvent)
    assert body.metadata is not None
    assert body.metadata.run_id == "5c876761-be87-4a70-986b-f7c076d1527c"
    assert body.metadata.build is not None
    assert body.metadata.build.artifacts == (Artifact("localhost:5000/app"),)


@pytest.mark.parametrize(("resource", "namespace"), [("parity:deployment/app", "parity"), ("deployment/web", "")])
def test_status_check_namespace(resource: str, namespace: str) -> None:
    """A resource id names its namespace only where Skaffold was given -n."""
    assert StatusCheckEvent(resource=resource).namespace == namespace


def test_error_line() -> None:
    """grpc-gateway's error line is no garbage; nothing of it is kept."""
    decoder = EventDecoder()
    assert decoder.feed(b'{"error":{"code":14,"message":"secret","details":[]}}\n') == []
    assert decoder.garbage == 0


def test_log_text_is_never_kept() -> None:
    """Nothing of a log line's text survives in what the decoder returns or holds."""
    decoder = EventDecoder()
    line = b'{"result":{"skaffoldLogEvent":{"message":"TOKEN=hunter2"},"applicationLogEvent":{"message":"hunter2"}}}\n'
    assert decoder.feed(line) == []
    assert b"hunter2" not in bytes(decoder._tail)
