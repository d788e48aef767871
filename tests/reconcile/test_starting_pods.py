"""The loop while a pod starts: it opens a session ahead, and forwards to the pod when it is Ready."""

from __future__ import annotations

from random import Random

import trio
import trio.testing
from msgspec.structs import replace

from forwarders.fleet import Fleet
from forwarders.transports.api_server import ClusterRoute
from tests.forwarders.cluster import Pods
from tests.plan.made import RUN, Item, pod, service, world
from tests.plan.test_starting_pods import started
from watcher.board.board import Board
from watcher.loop import Loop
from watcher.plan.facts import Facts
from watcher.skaffold.modes import Mode

FACTS = Facts(modes=frozenset({Mode.SERVICES}), run_id=RUN)
OLD, NEW = pod("old", age=1, revision="1"), pod("new", revision="2")
PENDING, STARTING = started(NEW), started(NEW, "PodScheduled")


class Turning:
    """A loop over facts that the test sets."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.facts = FACTS
        self.board = Board()
        self.pods = Pods(nursery)
        self.loop = Loop(lambda: self.facts, lambda _: None, self.board)
        self.fleet = Fleet({"": ClusterRoute(self.pods.open_channel)}.__getitem__, Random(0), self.loop.report)

    async def turn(self, *items: Item) -> tuple[str, str]:
        """The state and the pod of the one forward, some time after the cluster has these objects."""
        self.facts = world(FACTS, [service(), *items])
        await self.loop.plan_once(self.fleet)
        await trio.sleep(1)
        [record] = self.board.forwards.values()
        assert self.board.settled
        return record.state, record.pod


async def test_the_session_of_a_pod_stands_before_it_is_ready(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Nothing is opened when it becomes Ready, and the plan was settled all the while."""
    turning = Turning(nursery)
    await nursery.start(turning.fleet.run)
    assert await turning.turn(OLD) == ("ready", "old")
    assert await turning.turn(OLD, PENDING) == ("ready", "old")
    assert len(turning.pods.opens) == 1
    assert await turning.turn(OLD, STARTING) == ("ready", "old")
    opens = len(turning.pods.opens)
    turning.facts = replace(turning.facts, cluster=world(FACTS, [service(), OLD, NEW]).cluster)
    await turning.loop.plan_once(turning.fleet)
    [record] = turning.board.forwards.values()
    assert (record.state, record.pod, len(turning.pods.opens)) == ("ready", "new", opens)
