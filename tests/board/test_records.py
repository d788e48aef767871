"""The JSON objects, held against the example that scripts were written for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from forwarders.spec import Counts, Endpoint, ForwardSpec, PodRef, PortPolicy, PortRequest, State, Status
from tests.board.made import skaffold, skip
from watcher.board.addresses import local_url
from watcher.board.records import counted, forward_record, skip_record, timestamp
from watcher.plan.verdicts import PlannedForward, ResourceRef, Skip

# One line of `--output json` as it was promised, to the letter: names that scripts read are never renamed.
CONTRACT = """
{"time":"2026-11-23T22:48:04.616Z","kind":"forward","id":"services/default/service/web/8080/127.0.0.1","source":"services",
 "state":"ready","resourceType":"service","resourceName":"web","namespace":"default","container":"","remotePort":8080,
 "localAddress":"127.0.0.1","localPort":8080,"requestedPort":8080,"pod":"web-6c…","url":"http://127.0.0.1:8080","reason":""}
"""
ID = "services/default/service/web/8080/127.0.0.1"
NOW = datetime(2026, 11, 23, 22, 48, 4, 616200, UTC)
WANTED = PlannedForward(
    id=ID,
    subject=ResourceRef(
        source="services", resource_type="service", resource_name="web", namespace="default", remote_port=8080
    ),
    spec=ForwardSpec(id=ID, address="127.0.0.1", port=PortRequest(PortPolicy.PREFERRED, 8080), group=""),
    endpoints=(),
    waiting_for="",
    broken="",
    because="",
)


def test_a_ready_forward_is_the_contracts_example() -> None:
    """Names, values and time format are the promised ones; podPort, portName and gateway are additional."""
    endpoint = Endpoint(PodRef("default", "web-6c…", "uid"), 8081, ready=True)
    status = Status(id=ID, state=State.READY, local_port=8080, endpoint=endpoint)
    shown = json.loads(msgspec.json.encode(forward_record(WANTED, status, NOW)))
    beside = [shown.pop(name) for name in ("podPort", "portName", "gateway", "context", "openPath", "via")]
    assert beside == [8081, "", "", "", "", ""]
    assert shown == json.loads(CONTRACT)


@pytest.mark.parametrize("state", list(State))
def test_what_is_not_known_is_blank(state: State) -> None:
    """No pod, no port, no URL: every field stays where it is, with the empty value of its type."""
    shown = json.loads(msgspec.json.encode(forward_record(WANTED, Status(id=ID, state=state, reason="why"), NOW)))
    assert shown.keys() == {*json.loads(CONTRACT), "podPort", "portName", "gateway", "context", "openPath", "via"}
    assert (shown["state"], shown["pod"], shown["podPort"], shown["localPort"]) == (state.value, "", 0, 0)
    assert (shown["url"], shown["reason"], shown["requestedPort"]) == ("", "why", 8080)


def test_counters_stand_beside_the_contracts_fields() -> None:
    """The counters are additional fields; no other field changes."""
    error_at = NOW + timedelta(seconds=1)
    counts = Counts(
        since=NOW,
        connections=2,
        connections_total=3,
        held=1,
        sent=4,
        received=5,
        errors=1,
        last_error="cut",
        last_error_at=error_at,
    )
    record = forward_record(WANTED, Status(id=ID, state=State.LISTENING), NOW)
    shown = json.loads(msgspec.json.encode(counted(record, counts)))
    plain = json.loads(msgspec.json.encode(record))
    assert {name: shown.pop(name) for name in plain} == plain
    assert shown == {
        "since": timestamp(NOW),
        "connections": 2,
        "connectionsTotal": 3,
        "connectionsHeld": 1,
        "bytesSent": 4,
        "bytesReceived": 5,
        "errors": 1,
        "lastError": "cut",
        "lastErrorTime": timestamp(error_at),
    }


def test_a_port_that_others_hold_has_blank_counters() -> None:
    """Skaffold's own and Docker's: the same fields, nothing in them."""
    record = forward_record(WANTED, Status(id=ID, state=State.READY), NOW)
    shown = json.loads(msgspec.json.encode(counted(record, None)))
    assert (shown["since"], shown["connectionsTotal"], shown["lastErrorTime"]) == ("", 0, "")


def test_a_stopped_forward_has_no_url() -> None:
    """Its port is free, or another process has it."""
    assert forward_record(WANTED, Status(id=ID, state=State.STOPPED, local_port=8080), NOW).url == ""


def test_skips_and_skaffolds_changes_are_kinds_of_their_own() -> None:
    """A reader tells the three apart by `kind`."""
    assert json.loads(msgspec.json.encode(skip()))["kind"] == "skip"
    shown = json.loads(msgspec.json.encode(skaffold()))
    assert (shown["kind"], shown["runId"]) == ("skaffold", "run-1")


def test_a_skip_names_its_context() -> None:
    """Lines about another kube-context name it, so the record has it."""
    subject = msgspec.structs.replace(WANTED.subject, context="far")
    assert skip_record(Skip(id=ID, subject=subject, reason="excluded"), NOW).context == "far"


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOW, "2026-11-23T22:48:04.616Z"),
        (NOW.replace(microsecond=0), "2026-11-23T22:48:04.000Z"),
        (NOW.replace(microsecond=999999), "2026-11-23T22:48:04.999Z"),
    ],
)
def test_times_are_utc_with_milliseconds(moment: datetime, text: str) -> None:
    """Always three digits, always Z: the texts sort as the times do."""
    assert timestamp(moment) == text
    assert timestamp(moment.astimezone(timezone(timedelta(hours=2)))) == text


@pytest.mark.parametrize(
    ("address", "text"),
    [("127.0.0.1", "http://127.0.0.1:80"), ("::1", "http://[::1]:80"), ("localhost", "http://localhost:80")],
)
def test_urls(address: str, text: str) -> None:
    """An IPv6 address is in brackets."""
    assert local_url(address, 80) == text
