"""Events of another portside are decoded one by one, whatever is between them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.board.made import forward
from watcher.board.lines import json_line
from watcher.board.readiness import _records

GOOD = f"data: {json_line(forward())}"


@pytest.mark.parametrize(
    "line",
    [
        'data: {"kind":',
        "data: ",
        "data: [[[",
        'data: {"kind":"later"}',
        f'data: {{"kind":"forward","x":{"[" * 100_000}',
        'data: "\\ud800"',
        "garbage",
        ": \N{SNOWMAN}",
    ],
)
async def test_an_event_that_cannot_be_read_is_passed_over(line: str) -> None:
    """A later portside, or one that was killed in the middle of a line: `wait` goes on with the next event."""

    async def lines() -> AsyncIterator[str]:
        yield line
        yield GOOD

    assert [record async for record in _records(lines())] == [forward()]
