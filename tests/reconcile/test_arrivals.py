"""The loop while a pod starts: it watches for the sandbox, opens a session ahead, and leads there when it is Ready."""

from __future__ import annotations

from random import Random

import trio
import trio.testing
from msgspec.structs import replace

from forwarders.fleet import Fleet
from tests.forwarders.cluster import Pods
from tests.plan.made import RUN, Item, pod, service, world
from tests.plan.test_arrivals import PULLED, started, told
from watcher.board.board import Board
from watcher.cluster.store import Watch
from watcher.loop import Loop
from watcher.plan.facts import Facts
from watcher.skaffold.modes import Mode

FACTS = Facts(modes=frozenset({Mode.SERVICES}), run_id=RUN)
OLD, NEW = pod("old", age=1, revision="1"), pod("new", revision="2")
STARTING = started(NEW, "PodScheduled")


class Turning:
    """A loop over facts that the test sets, and what it wants watched."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.facts = FACTS
        self.wanted: frozenset[Watch] = frozenset()
        self.board = Board()
        self.pods = Pods(nursery)
        self.loop = Loop(lambda: self.facts, self._want, self.board)
        self.fleet = Fleet(self.pods.open_channel, Random(0), self.loop.report)

    def _want(self, watches: frozenset[Watch]) -> None:
        self.wanted = watches

    async def turn(self, *items: Item, pulled: tuple[str, ...] = ()) -> tuple[bool, str, str]:
        """Whether events are watched then, and where the one forward leads, some time after the cluster is so."""
        self.facts = told(world(FACTS, [service(), *items]), *pulled)
        await self.loop.plan_once(self.fleet)
        await trio.sleep(1)
        [record] = self.board.forwards.values()
        assert self.board.settled
        return PULLED in self.wanted, record.state, record.pod


async def test_the_session_of_a_pod_without_probes_stands_before_it_is_ready(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Nothing is opened when it becomes Ready, and the plan was settled all the while."""
    turning = Turning(nursery)
    await nursery.start(turning.fleet.run)
    assert await turning.turn(OLD) == (False, "ready", "old")
    assert await turning.turn(OLD, STARTING) == (True, "ready", "old")
    assert await turning.turn(OLD, STARTING, pulled=("new",)) == (True, "ready", "old")
    opens = len(turning.pods.opens)
    turning.facts = replace(turning.facts, cluster=world(FACTS, [service(), OLD, NEW]).cluster)
    await turning.loop.plan_once(turning.fleet)
    [record] = turning.board.forwards.values()
    assert (record.state, record.pod, len(turning.pods.opens)) == ("ready", "new", opens)
    assert PULLED not in turning.wanted
