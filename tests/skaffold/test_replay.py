"""Old events told from live ones, by the times that Skaffold writes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.skaffold.recorded import NAMES, raw
from watcher.skaffold.replay import Replay

CONNECTED = datetime(2026, 11, 24, 12, 0, 0, 500_000, tzinfo=UTC)


def is_old(timestamp: str) -> bool:
    replay = Replay(CONNECTED, 0.0)
    replay.feed(b'{"result":{"timestamp":"%s","taskEvent":null}}' % timestamp.encode(), 1.0)
    return replay.last_old == 1.0


@given(st.timedeltas(timedelta(days=-9), timedelta(days=9)), st.sampled_from([0, 3, 6, 9]))
def test_times_of_any_precision(apart: timedelta, digits: int) -> None:
    """0, 3, 6 or 9 fractional digits, as Skaffold writes them."""
    at = CONNECTED + apart
    fraction = f"{at.microsecond:06}000"[:digits]
    text = f"{at:%Y-%m-%dT%H:%M:%S}{f'.{fraction}' if digits else ''}Z"
    written = at.replace(microsecond=int(fraction[:6].ljust(6, "0") or 0))
    assert is_old(text) == (written < CONNECTED)


@given(st.binary(max_size=200))
def test_any_bytes_are_fed(data: bytes) -> None:
    """It never fails, whatever comes."""
    Replay(CONNECTED, 0.0).feed(data, 1.0)


def test_a_quoted_time_is_nobodys() -> None:
    """A pod may log what looks like an event."""
    replay = Replay(CONNECTED, 0.0)
    line = {"result": {"timestamp": "2026-11-24T13:00:00Z", "log": '{"timestamp":"2020-01-01T00:00:00Z"}'}}
    replay.feed(json.dumps(line).encode(), 1.0)
    assert replay.last_old == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_stream_is_old_by_now(name: str) -> None:
    """Their times are read as they are written."""
    replay = Replay(datetime.now(UTC), 0.0)
    replay.feed(raw(name), 1.0)
    assert replay.last_old == 1.0
