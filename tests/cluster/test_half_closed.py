"""Requests that end before their answer begins: the answer arrives, however late."""

from __future__ import annotations

import pytest
import trio

from fixtures.cluster.bed import Bed
from tests.support.objects import apply, deployment, rolled_out
from tests.support.process import portside

pytestmark = pytest.mark.cluster

LATE = 7002


@pytest.fixture(scope="module")
def apps(bed: Bed, space: str) -> str:
    """The namespace of `late`, 3 s after each line, and `soon`, 0.2 s."""
    apply(bed, space, deployment("late", LATE_PORT=str(LATE), LATE_MS="3000"))
    apply(bed, space, deployment("soon", LATE_PORT=str(LATE), LATE_MS="200"))
    rolled_out(bed, space, "late", "soon")
    return space


async def test_a_late_answer_to_a_half_closed_request(bed: Bed, apps: str) -> None:
    """The runtime cuts an answer off 1 s after a FIN; this one comes 3 s after the client's, whole, and ends."""
    async with portside("forward", "-n", apps, "deploy/late", f":{LATE}", environment=bed.environment()) as running:
        port = (await running.ready("late"))["localPort"]
        assert await answer_to(port, b"one line\n") == b"late: 9 one line\n"


async def test_an_application_that_waits_for_the_end(bed: Bed, apps: str) -> None:
    """It sees the client's end after the linger time, and its answer still arrives."""
    words = ("forward", "-n", apps, "--linger=1", "deploy/soon", f":{LATE}")
    async with portside(*words, environment=bed.environment()) as running:
        port = (await running.ready("soon"))["localPort"]
        assert await answer_to(port, b"no line's end") == b"late: 13 no line's end"


async def answer_to(port: int, request: bytes) -> bytes:
    """All that comes back after the request and our half-close."""
    with trio.fail_after(30):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(request)
            await stream.send_eof()
            return b"".join([data async for data in stream])
