"""Requests that end before their answer begins: the answer arrives, however late."""

from __future__ import annotations

import pytest
import trio

from fixtures.cluster.bed import Bed
from tests.support.objects import apply, deployment, rolled_out
from tests.support.process import portside

pytestmark = [pytest.mark.cluster, pytest.mark.every_bed("half-close: a late answer arrives whole")]

LATE = 7002


async def test_a_late_answer_to_a_half_closed_request(bed: Bed, space: str) -> None:
    """The runtime cuts an answer off 1 s after a FIN; this one comes 3 s after the client's, whole, and ends."""
    apply(bed, space, deployment("late", LATE_PORT=str(LATE), LATE_MS="3000"))
    rolled_out(bed, space, "late")
    async with portside("forward", "-n", space, "deploy/late", f":{LATE}", environment=bed.environment()) as running:
        port = (await running.ready("late"))["localPort"]
        with trio.fail_after(60):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"one line\n")
                await stream.send_eof()
                answer = b"".join([data async for data in stream])
    assert answer == b"late: 9 one line\n"
