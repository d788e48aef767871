"""The loop leaves time to others: while it plans, while it carries a plan out, and between plans."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
import trio.testing

from forwarders.fleet import Fleet
from forwarders.transports.api_server import ClusterRoute
from tests.forwarders.cluster import Pods
from tests.plan.made import RUN, Item, pod, service, world
from watcher import loop as looping
from watcher.board.board import Board
from watcher.loop import Loop
from watcher.plan.facts import Facts
from watcher.skaffold.modes import Mode

FACTS = Facts(modes=frozenset({Mode.SERVICES}), run_id=RUN)
MANY = 20


class Turns:
    """Counts how often another task ran."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.count += 1


@asynccontextmanager
async def others() -> AsyncIterator[Turns]:
    turns = Turns()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.run)
        yield turns
        nursery.cancel_scope.cancel()


def services(count: int) -> list[Item]:
    return [item for n in range(count) for item in (service(f"web-{n}"), pod(f"web-{n}-0", f"web-{n}"))]


@pytest.mark.parametrize(("due", "expected"), [(True, True), (False, False)])
async def test_others_run_between_the_steps_of_a_plan(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    *,
    due: bool,
    expected: bool,
) -> None:
    """After each slice of time; a plan that needs less runs through."""
    monkeypatch.setattr(looping, "_SLICE", -1.0 if due else 1.0)
    pods = Pods(nursery)
    facts = FACTS
    loop = Loop(lambda: facts, lambda _: None, Board())
    fleet = Fleet({"": ClusterRoute(pods.open_channel)}.__getitem__, Random(0), loop.report)
    await nursery.start(fleet.run)
    facts = world(FACTS, services(MANY))
    await loop.plan_once(fleet)  # the listeners are bound
    facts = world(FACTS, [item for item in services(MANY) if "pod" not in item[0].singular])
    async with others() as turns:
        await loop.plan_once(fleet)
        assert (turns.count > MANY) is expected


async def test_a_long_plan_is_followed_by_a_pause(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the facts change, planning leaves most of the time to the connections."""
    plans: list[float] = []

    class SlowLoop(Loop):
        async def plan_once(self, fleet: Fleet) -> None:
            plans.append(trio.current_time())
            await trio.sleep(0.1)
            self.touch()

    loop = SlowLoop(Facts, lambda _: None, Board())
    fleet = Fleet({"": ClusterRoute(Pods(nursery).open_channel)}.__getitem__, Random(0), loop.report)
    loop.touch()
    with trio.move_on_after(10):
        await loop.run(fleet)
    assert 20 < len(plans) < 40
