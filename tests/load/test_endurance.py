"""Requests at a steady pace while pods are deleted and the API server stops: none fails, memory stays flat."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from fixtures.cluster.bed import Bed
from tests.load.connections import one_after_the_other
from tests.load.gauge import gauging
from tests.support.process import portside

pytestmark = pytest.mark.cluster

RATE = 20.0
DELETION_EVERY = 20.0
STOPPED_FOR = 3.0
MINUTE = 60.0
GROWTH = 1.3


@pytest.mark.parametrize(
    ("seconds", "stops"),
    [(30.0, (12.0,)), pytest.param(10 * MINUTE, (3.5 * MINUTE, 7.5 * MINUTE), marks=pytest.mark.long)],
)
async def test_requests_while_pods_go_and_the_api_server_stands_still(
    bed: Bed, web: str, seconds: float, stops: tuple[float, ...]
) -> None:
    """Every request has its answer; memory at the end is at most 1.3 times what it was after the first minute."""
    async with portside("forward", "-n", web, "svc/web", ":8080", environment=bed.environment()) as running:
        port = (await running.ready("web"))["localPort"]
        async with gauging(running) as gauge, trio.open_nursery() as nursery:
            began = trio.current_time()
            nursery.start_soon(_delete_pods, bed, web, began, seconds)
            nursery.start_soon(_stop_the_api_server, bed, began, stops)
            fared = await one_after_the_other(port, RATE, seconds)
        print(f"load: {dict(fared)}")  # noqa: T201
        assert fared == {"200": int(RATE * seconds)}
        if seconds > 2 * MINUTE:
            early = gauge.peak(began + MINUTE - 10, began + MINUTE)
            late = gauge.peak(began + seconds - 10)
            print(f"load: {early:.1f} MiB after the first minute, {late:.1f} MiB at the end")  # noqa: T201
            assert late <= GROWTH * early


async def _delete_pods(bed: Bed, space: str, began: float, seconds: float) -> None:
    """One deletion a period, none in the last one: what it begins is to be over."""
    for number in range(1, int(seconds / DELETION_EVERY)):
        await trio.sleep_until(began + number * DELETION_EVERY)
        delete = partial(bed.kubectl, "-n", space, "delete", "pod", "-l", "app=web", "--wait=false", timeout=60)
        await trio.to_thread.run_sync(delete)


async def _stop_the_api_server(bed: Bed, began: float, stops: tuple[float, ...]) -> None:
    for at in stops:
        await trio.sleep_until(began + at)
        bed.pause("apiserver")
        try:
            await trio.sleep(STOPPED_FOR)
        finally:
            bed.resume("apiserver")
